"""A collection of documents: how parsed files become passages, and what is known of each file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from rag.documents.address import host_of
from rag.documents.chunk import ChunkSettings, CountTokens, chunk_document, title_of
from rag.documents.document import Document
from rag.documents.duplicates import signature_of
from rag.documents.parsed import PARSER_VERSION, ParsedDocuments
from rag.documents.records import HASH_CHARACTERS, DocumentRecord
from rag.documents.scan import FoundFile, readable
from rag.types import Passage, Place


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest did: the index's fingerprint, its documents, and what was left out (path -> reason).

    `added`, `removed` and `kept` count documents against those that the index held before. `other_kinds` counts files
    of kinds that are not read, by suffix. `near_duplicates` are pairs of hashes with their estimated similarity.
    `not_updated` are web pages that could not be looked at, so that their kept copy stays (address -> reason);
    `passed_over` counts links that were not followed, by the reason.
    """

    fingerprint: str
    n_passages: int
    documents: Sequence[DocumentRecord]
    left_out: Mapping[str, str]
    other_kinds: Mapping[str, int]
    added: int
    removed: int
    kept: int
    near_duplicates: Sequence[tuple[str, str, float]] = ()
    not_updated: Mapping[str, str] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)


class KnownDocument(NamedTuple):
    """What an index holds of a document: a row of its list of documents (`DocumentRecord`), and the passages."""

    record: Mapping
    passages: Sequence[Passage]


_NEW = KnownDocument({}, ())


def make_passages(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    count_tokens: CountTokens,
    chunking: Mapping,
    before: Mapping[str, KnownDocument],
    advance: Callable[[int], None] = lambda n: None,
) -> tuple[list[Passage], list[DocumentRecord]]:
    """The passages of all files that were parsed, and the documents that they are of.

    The same bytes under several paths are one document. `chunking` is everything that decides the chunks:
    ChunkSettings' values, and what counts the tokens. `before` holds what is known of each document by its hash; what
    was split in the same way is not split again.
    """
    places_of: dict[str, list[FoundFile]] = {}
    for found in files:
        places_of.setdefault(found.sha256, []).append(found)
    chunking = {**chunking, "parser_version": PARSER_VERSION}
    passages: list[Passage] = []
    records: list[DocumentRecord] = []
    for sha256, places in places_of.items():
        advance(len(places))
        known: KnownDocument = before.get(sha256, _NEW)
        record, kept = known
        is_split = record.get("chunking") == chunking
        # A document with scanned pages may have been parsed once more since, with more of its text recognised.
        document = None if is_split and record.get("ocr") is None else store.read(sha256)
        if is_split and (document is None or document.ocr == record["ocr"]):
            passages += [dataclasses.replace(passage, source=places[0].shown_path) for passage in kept]
            records.append(DocumentRecord(**{**record, "paths": _as_rows(places)}))
        elif document is not None:
            made = _passages_of(document, places[0], count_tokens, chunking)
            passages += made
            records.append(_record_of(document, places, len(made), chunking))
    return passages, records


def _passages_of(document: Document, place: FoundFile, count_tokens: CountTokens, chunking: Mapping) -> list[Passage]:
    """The passages of a document.

    The id is the first digits of the hash and a number, the title is the document's with the headings above the
    passage, the source is the document's first path.
    """
    settings = ChunkSettings(chunking["max_tokens"], chunking["overlap_tokens"])
    return [
        Passage(
            id=f"{place.sha256[:HASH_CHARACTERS]}@{n}",
            text=chunk.text,
            title=title_of(document.title, chunk.heading),
            source=place.shown_path,
            place=Place(chunk.start, chunk.end, chunk.page),
        )
        for n, chunk in enumerate(chunk_document(document, count_tokens, settings))
    ]


def _record_of(document: Document, places: Sequence[FoundFile], n_passages: int, chunking: Mapping) -> DocumentRecord:
    return DocumentRecord(
        sha256=places[0].sha256,
        kind=document.kind,
        title=document.title,
        paths=_as_rows(places),
        n_passages=n_passages,
        n_characters=len(document.text),
        chunking=chunking,
        minhash=signature_of(document.text),
        notes=document.notes,
        ocr=document.ocr,
    )


def _as_rows(places: Sequence[FoundFile]) -> tuple[Mapping, ...]:
    rows = (asdict(place) for place in places)
    return tuple({key: value for key, value in row.items() if key != "address" or value} for row in rows)


def collections_of(documents: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """Documents by the folder that was named, or in which a named file lies; each with its `path` below that folder.

    A folder is called by as much of the end of its path as distinguishes it from the others. Web pages are by their
    host, each with its address as the path.
    """
    by_folder: dict[Path, list[Mapping]] = {}
    for document in documents:
        found: dict[Path, str] = {}
        for place in document["paths"]:
            if address := place.get("address"):
                found.setdefault(Path(host_of(address)), address)
                continue
            root = Path(place["root"])
            folder, path = (root, place["path"]) if place["path"] else (root.parent, root.name)
            found.setdefault(folder, readable(path))
        for folder, path in found.items():
            by_folder.setdefault(folder, []).append({**document, "path": path})
    return {_shortest_name(folder, by_folder): by_folder[folder] for folder in sorted(by_folder)}


def _shortest_name(folder: Path, folders: Iterable[Path]) -> str:
    """As much of the end of a folder's path as distinguishes it from the others."""
    others = [other.parts for other in folders if other != folder]
    for n in range(1, len(folder.parts)):
        if all(other[-n:] != folder.parts[-n:] for other in others):
            return readable(Path(*folder.parts[-n:]).as_posix())
    return readable(folder.as_posix())
