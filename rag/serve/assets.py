"""The CSS, JavaScript and HTML of the pages, kept as files in `static/`."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"


def read_static(name: str) -> str:
    """The text of a file in `static/`."""
    return (STATIC / name).read_text("utf-8")
