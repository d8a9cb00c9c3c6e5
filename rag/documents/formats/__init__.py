"""A parser for each family of file formats."""
