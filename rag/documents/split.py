"""A parsed document is split: its chunks, and what an index keeps of the document beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.documents.chunk import Chunk, ChunkSettings, CountTokens, chunk_document
from rag.documents.document import Document
from rag.documents.duplicates import signature_of
from rag.documents.parsed import ParsedDocuments

CHARACTERS_AT_ONCE = 500_000
"""So many characters, or one text, are counted at once."""


@dataclass(frozen=True, slots=True)
class SplitDocument:
    """The chunks of a document, and what its row in an index says of it (`rag.documents.records`)."""

    kind: str
    title: str
    n_characters: int
    minhash: tuple[int, ...]
    notes: tuple[str, ...]
    ocr: str | None
    chunks: list[Chunk]


def split_document(document: Document, count_tokens: CountTokens, settings: ChunkSettings) -> SplitDocument:
    """Split a document; `count_tokens` is asked for a part of its text at a time."""

    def counted(texts: Sequence[str]) -> list[int]:
        counts: list[int] = []
        waiting: list[str] = []
        n_characters = 0
        for text in texts:
            if waiting and n_characters + len(text) > CHARACTERS_AT_ONCE:
                counts += count_tokens(waiting)
                waiting, n_characters = [], 0
            waiting.append(text)
            n_characters += len(text) + 1
        return [*counts, *count_tokens(waiting)] if waiting else counts

    return SplitDocument(
        kind=document.kind,
        title=document.title,
        n_characters=len(document.text),
        minhash=signature_of(document.text),
        notes=document.notes,
        ocr=document.ocr,
        chunks=chunk_document(document, counted, settings),
    )


def split_stored(
    index_folder: str | Path, parser_version: int, sha256: str, settings: ChunkSettings, count_tokens: CountTokens
) -> SplitDocument | None:
    """Split a document of the store below an index; None where the store lacks it."""
    document = ParsedDocuments(index_folder, parser_version).read(sha256)
    return None if document is None else split_document(document, count_tokens, settings)
