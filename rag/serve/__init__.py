"""The chat page, its API and tools, and what they keep."""
