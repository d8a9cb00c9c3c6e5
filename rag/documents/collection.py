"""A collection: which files are taken in, what they hold, and how they become passages.

INDEX/documents/HASH.json   a file's text and structure, by the SHA-256 of its bytes; what a killed run has parsed is
                            not parsed again, and source cards open on it
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.documents.chunk import ChunkSettings, CountTokens, chunk_document, title_of
from rag.documents.duplicates import signature_of
from rag.documents.parsed import PARSER_VERSION, ParsedDocuments
from rag.documents.records import HASH_CHARACTERS, DocumentRecord
from rag.documents.scan import FoundFile, readable
from rag.types import Passage, Place


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a run took in: the index's fingerprint, its documents, and what was left out with the reason."""

    fingerprint: str
    n_passages: int
    documents: Sequence[DocumentRecord]
    left_out: Mapping[str, str]
    other_kinds: Mapping[str, int]
    added: int
    removed: int
    kept: int
    near_duplicates: Sequence[tuple[str, str, float]] = ()


def make_passages(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    count_tokens: CountTokens,
    chunking: Mapping,
    before: Mapping[str, tuple[Mapping, Sequence[Passage]]],
    advance: Callable[[int], None] = lambda n: None,
) -> tuple[list[Passage], list[DocumentRecord]]:
    """The passages of all files that were parsed, and the documents that they are of.

    The same bytes under several paths are one document. A passage's id is the first digits of its document's
    hash and its number; its title is the document's with the headings above it; its source the document's first path.
    `chunking` is everything that decides the chunks: ChunkSettings' values, and what counts the tokens. `before` holds
    the record and the passages of each document by its hash; what was split in the same way is not split again.
    """
    paths: dict[str, list[FoundFile]] = {}
    for found in files:
        paths.setdefault(found.sha256, []).append(found)
    chunking = {**chunking, "parser_version": PARSER_VERSION}
    settings = ChunkSettings(chunking["max_tokens"], chunking["overlap_tokens"])
    passages: list[Passage] = []
    records: list[DocumentRecord] = []
    for sha256, places in paths.items():
        advance(len(places))
        shown, found_at = places[0].shown_path, tuple(asdict(place) for place in places)
        record, kept = before.get(sha256, ({}, ()))
        document = store.read(sha256) if record.get("ocr") is not None or record.get("chunking") != chunking else None
        if record.get("chunking") == chunking and (document is None or document.ocr == record["ocr"]):
            passages += [dataclasses.replace(passage, source=shown) for passage in kept]
            records.append(DocumentRecord(**{**record, "paths": found_at}))
            continue
        if document is None:
            continue
        chunks = chunk_document(document, count_tokens, settings)
        passages += [
            Passage(
                f"{sha256[:HASH_CHARACTERS]}@{n}",
                chunk.text,
                title_of(document.title, chunk.heading),
                shown,
                Place(chunk.start, chunk.end, chunk.page),
            )
            for n, chunk in enumerate(chunks)
        ]
        records.append(
            DocumentRecord(
                sha256,
                document.kind,
                document.title,
                found_at,
                len(chunks),
                len(document.text),
                chunking,
                signature_of(document.text),
                document.notes,
                document.ocr,
            )
        )
    return passages, records


def collections_of(documents: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """Documents by the folder that was named, or in which a named file lies; each with its `path` below that folder.

    A folder is called by as much of the end of its path as tells it from the others.
    """
    by_folder: dict[Path, list[Mapping]] = {}
    for document in documents:
        found: dict[Path, str] = {}
        for place in document["paths"]:
            root = Path(place["root"])
            folder, path = (root, place["path"]) if place["path"] else (root.parent, root.name)
            found.setdefault(folder, readable(path))
        for folder, path in found.items():
            by_folder.setdefault(folder, []).append({**document, "path": path})
    return {_told_apart(folder, by_folder): by_folder[folder] for folder in sorted(by_folder)}


def _told_apart(folder: Path, folders: Iterable[Path]) -> str:
    others = [other.parts for other in folders if other != folder]
    for n in range(1, len(folder.parts)):
        if all(other[-n:] != folder.parts[-n:] for other in others):
            return readable(Path(*folder.parts[-n:]).as_posix())
    return readable(folder.as_posix())
