"""`python -m rag`: the `rag` command, for launchers that take a module."""

from __future__ import annotations

from rag.cli.main import program

if __name__ == "__main__":
    program()
