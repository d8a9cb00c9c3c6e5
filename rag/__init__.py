"""Question answering over your own documents: cited answers, honest refusals, measured quality."""

__version__ = "0.1.0"
