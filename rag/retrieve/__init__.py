"""From a question to candidate passages: dense, BM25, and their fusion."""
