"""What an index remembers of each document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HASH_CHARACTERS = 24
"""How much of the hash of a file begins the ids of its passages."""


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document of a collection: what it holds, and every place where it was found.

    `paths` holds these places as `FoundFile` has them: root, path, sha256, size, modified. `chunking` says how the
    document was split; `minhash` is the signature of its words; `ocr` as in `Document`.
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


def path_of(place: Mapping) -> Path:
    """The file at one of a document's `paths`: below its root, or the root itself where that was named."""
    root = Path(place["root"])
    return root / place["path"] if place["path"] else root
