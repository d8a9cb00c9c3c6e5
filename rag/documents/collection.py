"""A collection of documents: how parsed files become passages, and what is known of each file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from rag.data.pieces import Pieces, StoredRows, Unread
from rag.documents.address import host_of
from rag.documents.chunk import ChunkSettings, CountTokens, title_of
from rag.documents.parsed import ParsedDocuments
from rag.documents.records import HASH_CHARACTERS, DocumentRecord
from rag.documents.scan import FoundFile, readable
from rag.documents.split import SplitDocument, split_stored
from rag.errors import UnreadableFile
from rag.types import Passage, Place


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest did: the index's fingerprint, its documents, and what was left out (path -> reason).

    `added`, `removed` and `kept` count documents against those that the index held before. `other_kinds` counts files
    of kinds that are not read, by suffix. `near_duplicates` are pairs of hashes with their estimated similarity.
    `not_updated` are web pages that could not be looked at, so that their kept copy stays (address -> reason);
    `passed_over` counts links that were not followed, by the reason. `copies` gives the readable paths of copies that
    were made of added files, by their own.
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
    copies: Mapping[str, str] = field(default_factory=dict)


class KnownDocument(NamedTuple):
    """What an index holds of a document: a row of its list of documents (`DocumentRecord`), and the passages."""

    record: Mapping
    passages: Sequence[Passage]


_NEW = KnownDocument({}, ())
UNSAID = ("address", "collection")  # left out of a place where they are empty
Splitter = Callable[[ParsedDocuments, str, ChunkSettings, CountTokens], SplitDocument | None]
"""Splits the document of a hash in the store; None where the store lacks it."""


def split_here(
    store: ParsedDocuments, sha256: str, settings: ChunkSettings, count_tokens: CountTokens
) -> SplitDocument | None:
    """Split a document of the store in this process, without any limit."""
    return split_stored(store.index_folder, store.parser_version, sha256, settings, count_tokens)


def make_passages(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    count_tokens: CountTokens,
    chunking: Mapping,
    before: Mapping[str, KnownDocument],
    advance: Callable[[int], None] = lambda n: None,
    *,
    split: Splitter = split_here,
    failed: dict[str, str] | None = None,
) -> tuple[Pieces, list[DocumentRecord]]:
    """The passages of all files that were parsed, and the documents that they are of.

    The same bytes under several paths are one document. `chunking` is everything that decides the chunks:
    ChunkSettings' values, and what counts the tokens. `before` holds what is known of each document by its hash; what
    was split in the same way is not split again. `split` splits what is new, and raises UnreadableFile where that
    cannot be done within its limits: `failed` then gets path -> reason.
    """
    places_of: dict[str, list[FoundFile]] = {}
    for found in files:
        places_of.setdefault(found.sha256, []).append(found)
    settings = ChunkSettings(chunking["max_tokens"], chunking["overlap_tokens"])
    chunking = {**chunking, "parser_version": store.parser_version}
    passages = Pieces()
    records: list[DocumentRecord] = []
    for sha256, places in places_of.items():
        advance(len(places))
        known: KnownDocument = before.get(sha256, _NEW)
        record, kept = known
        is_split = record.get("chunking") == chunking
        if is_split and (record.get("ocr") is None or _is_read_alike(store, sha256, record["ocr"])):
            passages.take(_from_place(kept, places[0].shown_path))
            records.append(DocumentRecord(**{**record, "paths": _as_rows(places)}))
            continue
        try:
            document = split(store, sha256, settings, count_tokens)
        except UnreadableFile as error:
            if failed is None:
                raise
            failed.update({found.name: str(error) for found in places})
            continue
        if document is not None:
            passages.take(_passages_of(document, places[0]))
            records.append(_record_of(document, places, chunking))
    return passages, records


def _from_place(passages: Sequence[Passage], source: str) -> Sequence[Passage]:
    """The passages of a document with this source; all of them have the same."""
    if isinstance(passages, StoredRows) and (not passages or passages[0].source == source):
        return passages
    if isinstance(passages, Unread) and passages.source == source:
        return passages
    return [dataclasses.replace(passage, source=source) for passage in passages]


def _is_read_alike(store: ParsedDocuments, sha256: str, ocr: str) -> bool:
    """Whether a document with scanned pages was not parsed once more since, with more of its text recognised."""
    document = store.read(sha256)
    return document is None or document.ocr == ocr


def _passages_of(document: SplitDocument, place: FoundFile) -> list[Passage]:
    """The passages of a document.

    The id is the first digits of the hash and a number, the title is the document's with the headings above the
    passage, the source is the document's first path.
    """
    return [
        Passage(
            id=f"{place.sha256[:HASH_CHARACTERS]}@{n}",
            text=chunk.text,
            title=title_of(document.title, chunk.heading),
            source=place.shown_path,
            place=Place(chunk.start, chunk.end, chunk.page),
        )
        for n, chunk in enumerate(document.chunks)
    ]


def _record_of(document: SplitDocument, places: Sequence[FoundFile], chunking: Mapping) -> DocumentRecord:
    return DocumentRecord(
        sha256=places[0].sha256,
        kind=document.kind,
        title=document.title,
        paths=_as_rows(places),
        n_passages=len(document.chunks),
        n_characters=document.n_characters,
        chunking=chunking,
        minhash=document.minhash,
        notes=document.notes,
        ocr=document.ocr,
    )


def _as_rows(places: Sequence[FoundFile]) -> tuple[Mapping, ...]:
    rows = (asdict(place) for place in places)
    return tuple({key: value for key, value in row.items() if key not in UNSAID or value} for row in rows)


def collections_of(documents: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """Documents by their collection, each with its `path` in it, and with `places`: those of its `paths` within it.

    A collection has the name that was given to it, or else that of the folder that was named, or in which a named file
    lies: as much of the end of its path as distinguishes it from the others. Web pages are by their host, each with its
    address as the path.
    """
    folders = {_folder_of(place) for row in documents for place in row["paths"] if not place.get("collection")}
    names = {folder: _shortest_name(folder, folders) for folder in sorted(folders)}
    found: dict[str, list[Mapping]] = {name: [] for name in names.values()}
    given: dict[str, list[Mapping]] = {}
    for document in documents:
        places: dict[str, list[Mapping]] = {}
        for place in document["paths"]:
            places.setdefault(place.get("collection") or names[_folder_of(place)], []).append(place)
        for name, own in places.items():
            row = {**document, "path": _path_within(own[0]), "places": tuple(own)}
            (found[name] if name in found else given.setdefault(name, [])).append(row)
    return {**found, **{name: given[name] for name in sorted(given)}}


def _folder_of(place: Mapping) -> Path:
    """The folder by which a place without a collection of its own is known; for a web page its host."""
    if address := place.get("address"):
        return Path(host_of(address))
    return Path(place["root"]) if place["path"] else Path(place["root"]).parent


def _path_within(place: Mapping) -> str:
    return place.get("address") or readable(place["path"] or Path(place["root"]).name)


def _shortest_name(folder: Path, folders: Iterable[Path]) -> str:
    """As much of the end of a folder's path as distinguishes it from the others."""
    others = [other.parts for other in folders if other != folder]
    for n in range(1, len(folder.parts)):
        if all(other[-n:] != folder.parts[-n:] for other in others):
            return readable(Path(*folder.parts[-n:]).as_posix())
    return readable(folder.as_posix())
