"""The index folder: reading, writing, following a folder of documents, examining."""
