"""`python app.py` opens the chat in a browser page; the same as `rag chat`, with the same options."""

from __future__ import annotations

import sys

from rag.cli.main import program

if __name__ == "__main__":
    sys.argv.insert(1, "chat")
    program()
