"""Where a passage stands, in words."""

from __future__ import annotations

from rag.types import Passage

NOT_IN_DOCUMENTS = "Not in these documents."


def place_of(passage: Passage) -> str:
    """Where a passage can be found: its file and page, or its id where it is of no file."""
    if passage.place is None:
        return passage.id
    return passage.source + (f", page {passage.place.page}" if passage.place.page is not None else "")


def citation_of(passage: Passage) -> str:
    """A passage's title and place, as one cites it."""
    return f"{passage.title}, {place_of(passage)}" if passage.title else place_of(passage)
