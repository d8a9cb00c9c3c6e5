"""The Protocol of a store: passages with their vectors and words, searched, read and changed in generations."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rag.types import Passage

Scored = list[tuple[str, float]]
"""Ids of passages with their scores, best first, ties by id."""


@dataclass(frozen=True, slots=True)
class Where:
    """The part of a store that is searched: passages of these documents, in any of these collections; None: all.

    Documents are named as in passage ids. Those `hidden` are never found.
    """

    documents: frozenset[str] | None = None
    collections: frozenset[str] | None = None
    hidden: frozenset[str] = frozenset()

    def hiding(self, documents: Collection[str]) -> Where:
        """The same part without these documents."""
        return dataclasses.replace(self, hidden=self.hidden | frozenset(documents))


EVERYWHERE = Where()


@runtime_checkable
class Store(Protocol):
    """One generation of passages, as it was when the store was opened; changes make the next one."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the generation holds and what made it, as JSON (`rag.index.manifest`)."""
        ...

    def dense(self, vectors: np.ndarray, k: int, where: Where = EVERYWHERE) -> list[Scored]:
        """The k passages of highest inner product with each of (q, d) float32 unit vectors."""
        ...

    def lexical(self, queries: Sequence[str], k: int, where: Where = EVERYWHERE) -> list[Scored]:
        """The k passages of highest BM25 score for each question; none without a common word."""
        ...

    def passages(self, ids: Sequence[str]) -> dict[str, Passage]:
        """The passages of these ids, by their id; an id that is not there is left out."""
        ...

    def scan(self) -> Iterator[Passage]:
        """All passages, in an order of the store's own."""
        ...

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(n, d) float32 vectors of these passages, in their order. Raises KeyError for an id that is not there."""
        ...

    def changing(self, manifest: Mapping[str, Any], *, anew: bool = False) -> AbstractContextManager[None]:
        """Inside, this process is the only writer. What serves is not touched before `finish`.

        `manifest` says what will be there; `anew` begins with no passage. Raises IndexBusyError where another writes.
        """
        ...

    def write(
        self, passages: Sequence[Passage], vectors: np.ndarray, collections: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        """Add passages, or put them in the place of those with their ids. `collections` are named by document."""
        ...

    def delete(self, ids: Iterable[str]) -> None:
        """Leave these passages out of the next generation."""
        ...

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Let the next generation serve, whole and at once; the one before stays for `roll_back`."""
        ...

    def roll_back(self) -> Mapping[str, Any]:
        """Let the generation before serve again, and return its manifest; a second call goes forward again."""
        ...
