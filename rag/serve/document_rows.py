"""The documents as a page lists them: each once, by its name, with its collections and its state."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rag.documents.address import page_name
from rag.documents.records import HASH_CHARACTERS
from rag.documents.scan import readable
from rag.index.removal import is_upload
from rag.serve.intake import Item
from rag.serve.readers import Collections
from rag.serve.source_pages import source_link

Row = dict[str, Any]


def rows_of(collections: Collections, uploads: Path) -> list[Row]:
    """The documents of the index, each with all of its collections, by name. `uploads` is the folder of copies."""
    rows: dict[str, Row] = {}
    for name, documents in collections.items():
        for document in documents:
            sha256 = document["sha256"]
            if sha256 not in rows:
                rows[sha256] = _row(document, uploads)
            rows[sha256]["collections"].append(name)
    return sorted(rows.values(), key=lambda row: (row["name"].casefold(), row["id"]))


def rows_of_conversation(documents: Sequence[Mapping], attached: str) -> list[Row]:
    """The files of a conversation, by name."""
    rows = [{**_row(row, None, attached), "own": True} for row in documents]
    return sorted(rows, key=lambda row: row["name"].casefold())


def row_of_item(item: Item) -> Row:
    """What is being added, or was not."""
    collections = [item.collection] if item.collection else []
    row = {"id": "", "item": item.id, "name": item.name, "state": item.state, "reason": item.reason, "title": ""}
    return {**row, "collections": collections, "own": bool(item.attached), "document": item.document[:HASH_CHARACTERS]}


def rows_left_out(left_out: Mapping[str, str], collections: Collections, uploads: Path, *, every: bool) -> list[Row]:
    """The files below followed folders that could not be read, by their names alone (path -> reason).

    With `every` all of them, else those below the folders of these collections.
    """
    names = {
        readable(place["root"]): name
        for name, documents in collections.items()
        for row in documents
        for place in row.get("places", ())
        if not place.get("address")
    }
    rows = []
    for path, reason in left_out.items():
        at = Path(path)
        if at.is_relative_to(readable(str(uploads))):
            continue  # copies of what was added, which said why, and is deleted
        found = next((names[str(root)] for root in (at, *at.parents) if str(root) in names), None)
        if found is not None or every:
            row = {"id": "", "item": "", "document": "", "name": at.name or path, "title": "", "own": False}
            rows.append({**row, "state": "left out", "reason": reason, "collections": [found] if found else []})
    return sorted(rows, key=lambda row: row["name"].casefold())


def matches(row: Row, query: str) -> bool:
    """Whether every word of a query is in a document's name, title or path."""
    text = f"{row['name']} {row['title']} {row.get('path', '')} {row.get('address', '')}".casefold()
    return all(word in text for word in query.casefold().split())


def _row(document: Mapping, uploads: Path | None, attached: str = "") -> Row:
    place = document["paths"][0]
    address = place.get("address", "")
    start = document["sha256"][:HASH_CHARACTERS]
    path = str(document["path"])
    modified = datetime.datetime.fromtimestamp(float(place.get("modified", 0)), datetime.UTC)
    return {
        "id": start,
        "item": "",
        "name": page_name(address) if address else Path(path).name or path,
        "title": document["title"],
        "path": path,
        "address": address,
        "kind": document["kind"],
        "state": "ready",
        "reason": "",
        "n_passages": document["n_passages"],
        "notes": list(document.get("notes", ())),
        "added": modified.isoformat(timespec="seconds"),
        "href": source_link(f"{start}@0", attached),
        "stays": uploads is not None and not all(is_upload(each, uploads) for each in document["paths"]),
        "collections": [],
        "own": False,
        "document": start,
    }
