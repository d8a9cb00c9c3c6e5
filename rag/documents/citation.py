"""Where a passage stands, in words."""

from __future__ import annotations

from rag.types import Passage

NOT_IN_DOCUMENTS = "Not in these documents."


def place_of(passage: Passage) -> str:
    """Where a passage can be found: its file and page; for a passage of a corpus file, its id."""
    if passage.place is None:
        return passage.id
    if passage.place.page is None:
        return passage.source
    return f"{passage.source}, page {passage.place.page}"


def citation_of(passage: Passage) -> str:
    """A passage's title and place, as one cites it."""
    return f"{passage.title}, {place_of(passage)}" if passage.title else place_of(passage)
