"""The `rag` command: a module for each group of commands."""
