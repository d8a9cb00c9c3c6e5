"""Question answering over your own documents: cited answers, honest refusals, measured quality."""

from __future__ import annotations

__version__ = "0.1.0"
