"""Documents: files become text with structure, text becomes passages, folders become a collection."""
