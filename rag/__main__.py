"""`python -m rag`: the `rag` command, for launchers that take a module."""

from rag.cli import main

if __name__ == "__main__":
    main()
