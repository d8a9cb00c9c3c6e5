"""Where a passage stands, in words."""

from __future__ import annotations

import html

from rag.documents.address import is_address
from rag.types import Passage

NOT_IN_DOCUMENTS = "Not in these documents."


def place_of(passage: Passage) -> str:
    """Where a passage can be found: its file and page; for a passage of a corpus file, its id."""
    if passage.place is None:
        return passage.id
    if passage.place.page is None:
        return passage.source
    return f"{passage.source}, page {passage.place.page}"


def place_html(passage: Passage) -> str:
    """`place_of` as HTML: the address of a web page is a link to it, in a page of its own."""
    place, address = html.escape(place_of(passage)), html.escape(passage.source)
    if passage.place is None or not is_address(passage.source):
        return place
    # The site is not told where its reader comes from.
    link = f'<a href="{address}" target="_blank" rel="noopener noreferrer nofollow">{address}</a>'
    return link + place.removeprefix(address)


def citation_of(passage: Passage) -> str:
    """A passage's title and place, as one cites it."""
    return f"{passage.title}, {place_of(passage)}" if passage.title else place_of(passage)
