"""A module for each kind of file, in a folder for each family. Each parser turns the bytes of a file into a Document.

To add a format: write its parser here, then add it to `PARSERS` in `rag/documents/parse.py` and its suffixes to
`SUFFIXES` in `rag/documents/sniff.py`. A parser may raise anything; UnreadableFile has a reason that people can act on.
"""
