"""Passages found in some collections name the place of their document in these, not one in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.documents.address import page_name
from rag.documents.records import HASH_CHARACTERS
from rag.documents.scan import readable, shown_path
from rag.types import Hit, Passage, Retriever

Collections = Mapping[str, Sequence[Mapping]]


class PlacedRetriever:
    """A retriever whose passages name a place of their document that `rows` has (`rows_within`)."""

    def __init__(self, retriever: Retriever, rows: Mapping[str, Mapping]):
        self._retriever, self._rows = retriever, rows

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k best passages for each query, best first."""
        found = self._retriever.retrieve(queries, k)
        return [[dataclasses.replace(hit, passage=self._placed(hit.passage)) for hit in hits] for hits in found]

    def _placed(self, passage: Passage) -> Passage:
        row = self._rows.get(passage.document)
        return passage if row is None else placed(passage, row)


def collections_within(everything: Collections, names: Sequence[str]) -> dict[str, list[Mapping]]:
    """The collections of these names, with only the places of their documents that are in any of them.

    A document without a title is called as a file of it: as one of these places, then, not as one elsewhere.
    """
    places: dict[str, list[Mapping]] = {}
    for name in names:
        for row in everything[name]:
            places.setdefault(row["sha256"], []).extend(row.get("places", row["paths"]))
    return {name: [_only_at(row, places[row["sha256"]]) for row in everything[name]] for name in names}


def _only_at(row: Mapping, places: Sequence[Mapping]) -> Mapping:
    """A document with these places alone; `elsewhere` is its title where that is the name of a file elsewhere."""
    called = [_stem(place) for place in places]
    others = [_stem(place) for place in row["paths"] if place not in places]
    row = {**row, "paths": tuple(places)}
    if row["title"] not in others or row["title"] in called:
        return row
    return {**row, "title": called[0], "elsewhere": row["title"]}


def _stem(place: Mapping) -> str:
    """What a document without a title is called by a place of it."""
    if address := place.get("address"):
        return page_name(address)
    return readable(Path(place["path"] or Path(place["root"]).name).stem)


def by_hash(collections: Collections) -> dict[str, Mapping]:
    """Each document by the beginning of its hash, which begins the ids of its passages."""
    return {row["sha256"][:HASH_CHARACTERS]: row for rows in collections.values() for row in rows}


def placed(passage: Passage, row: Mapping) -> Passage:
    """The passage with its document's title and, unless it has one of its places, the first of them as its source."""
    sources = [_source(place) for place in row["paths"]]
    if passage.source not in sources:
        passage = dataclasses.replace(passage, source=sources[0])
    elsewhere = row.get("elsewhere")
    if elsewhere and f"{passage.title} ".startswith(f"{elsewhere} "):
        passage = dataclasses.replace(passage, title=row["title"] + passage.title.removeprefix(elsewhere))
    return passage


def title_as_placed(title: str, passage: Passage, seen: Passage) -> str:
    """The title of a passage's document, where the passage is shown as `seen` (`placed`)."""
    if not title or passage.title == seen.title or not passage.title.startswith(title):
        return title
    return seen.title.removesuffix(passage.title.removeprefix(title))


def _source(place: Mapping) -> str:
    """What a passage names as its source, as `FoundFile.shown_path`."""
    return place.get("address") or readable(shown_path(place["root"], place["path"], place.get("collection", "")))
