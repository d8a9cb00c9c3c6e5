"""What an index remembers of each document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HASH_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document of a collection: what it holds, and every path under which it was found.

    `chunking` says how it was split; `minhash` is the signature of its words; `ocr` as in `Document`.
    """

    sha256: str
    kind: str
    title: str
    paths: tuple[Mapping, ...]
    n_passages: int
    n_characters: int
    chunking: Mapping
    minhash: tuple[int, ...]
    notes: tuple[str, ...] = ()
    ocr: str | None = None
