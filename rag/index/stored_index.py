"""An index in a store, opened for reading as one in a folder is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.index.manifest import Manifest
from rag.index.read import OpenIndex
from rag.index.stored import open_store
from rag.index.stored_corpus import StoreCorpus
from rag.store.changing import MilvusStore
from rag.store.retrieve import StoreLexical, WithTexts


@dataclass(frozen=True)
class StoreIndex(OpenIndex):
    """A generation in a store, opened for reading."""

    store: MilvusStore | None = None

    def vectors(self, *, nprobe: int = 32, ef_search: int = 128) -> Any:
        return StoreVectors(self.opened, self.corpus)

    def bm25(self) -> Any:
        self.check_holds_passages()
        return WithTexts(StoreLexical(self.opened), self.opened)

    @property
    def opened(self) -> MilvusStore:
        """The store."""
        assert self.store is not None
        return self.store


def open_stored(generation: Path, manifest: Manifest) -> StoreIndex:
    """Open what serves in a store. Raises IndexMismatchError where it is not what its manifest says."""
    store = open_store(generation.parent)
    store.check()
    return StoreIndex(generation, manifest, StoreCorpus(store), store=store)


class StoreVectors:
    """The vectors of a store by the rows of its corpus, as far as the doctor and the audit ask for them."""

    def __init__(self, store: MilvusStore, corpus: StoreCorpus | Any):
        self.store, self.corpus = store, corpus

    def __len__(self) -> int:
        return len(self.corpus)

    def vectors(self, rows: Sequence[int]) -> np.ndarray:
        """The vectors of these rows, (n, d) float32."""
        return self.store.vectors([self.corpus[row].id for row in rows])

    def search(self, queries: np.ndarray, k: int, within: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Scores (q, k) float32 and rows (q, k) int64, best first; row -1 means no hit."""
        row_of = {passage.id: row for row, passage in enumerate(self.corpus)}
        scores: np.ndarray = np.zeros((len(queries), k), np.float32)
        rows: np.ndarray = np.full((len(queries), k), -1)
        for i, found in enumerate(self.store.dense(queries, k)):
            for j, (pid, score) in enumerate(found):
                scores[i, j], rows[i, j] = score, row_of[pid]
        return scores, rows
