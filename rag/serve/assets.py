"""The CSS and JavaScript of the pages, kept as files in `static/`."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
PAGE_CSS = STATIC / "page.css"


def read_static(name: str) -> str:
    """The text of a file in `static/`."""
    return (STATIC / name).read_text("utf-8")


def page_head() -> str:
    """What the chat page needs in its <head>."""
    return f"<script>{read_static('page.js')}</script>"
