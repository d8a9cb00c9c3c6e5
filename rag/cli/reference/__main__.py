"""`python -m rag.cli.reference [FOLDER]` writes the reference into a checkout, by default the one of this code."""

from __future__ import annotations

import sys
from pathlib import Path

from rag.cli.reference import reference
from rag.config import DEFAULT_FILE
from rag.files import write_whole
from rag.terminal import show


def main(arguments: list[str]) -> None:
    checkout = DEFAULT_FILE.parent
    if arguments:
        checkout = Path(arguments[0])
    elif not (checkout / "pyproject.toml").is_file():  # an installed package: nothing is written beside it
        raise SystemExit("there is no checkout here; name a folder: python -m rag.cli.reference FOLDER")
    for name, text in reference().items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode("utf-8"))
        show(str(path))


if __name__ == "__main__":
    main(sys.argv[1:])
