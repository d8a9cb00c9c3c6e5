"""Vectors of several segments, searched as one index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rag.data.stored import PLACE_SHIFT, rows_by_segment
from rag.retrieve.vectors import FaissIndex

MOST_PASSED_OVER = 64
"""So many vectors that are gone are asked for in addition, and dropped; of more, a search leaves them out by itself."""


class SegmentedIndex:
    """FAISS indexes as one: row r is the vector at `places[r]`, (n,) uint64, the segment and the number in it.

    Vectors at no place are gone. Of two vectors with equal scores the one of the lower row is nearer.
    """

    def __init__(self, segments: Mapping[int, FaissIndex], places: np.ndarray):
        self._segments, self._places = dict(segments), places
        self._rows = rows_by_segment(places, {n: len(each) for n, each in segments.items()})

    def __len__(self) -> int:
        return len(self._places)

    def search(self, queries: np.ndarray, k: int, within: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As `FaissIndex.search`."""
        found = [self._of_segment(number, queries, k, within) for number in self._segments]
        scores, rows = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        order = np.stack([np.lexsort((own, -best)) for own, best in zip(rows, scores, strict=True)])[:, :k]
        scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
        missing = ((0, 0), (0, k - rows.shape[1]))
        lowest = np.finfo(np.float32).min
        return np.pad(scores, missing, constant_values=lowest), np.pad(rows, missing, constant_values=-1)

    def _of_segment(
        self, number: int, queries: np.ndarray, k: int, within: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        index, rows = self._segments[number], self._rows[number]
        n_gone = int((rows < 0).sum())
        if within is None and n_gone <= MOST_PASSED_OVER:
            scores, numbers = index.search(queries, min(k + n_gone, len(index)))
        else:
            chosen = rows >= 0
            if within is not None:
                chosen[chosen] = within[rows[chosen]]
            scores, numbers = index.search(queries, min(k, len(index)), chosen)
        found = np.where(numbers < 0, -1, rows[numbers])
        return np.where(found < 0, np.finfo(np.float32).min, scores), found

    def vectors(self, rows: Sequence[int]) -> np.ndarray:
        """As `FaissIndex.vectors`."""
        places = self._places[np.asarray(rows, np.int64)]
        of_segment = places >> np.uint64(PLACE_SHIFT)
        numbers = (places & np.uint64((1 << PLACE_SHIFT) - 1)).astype(np.int64)
        found: np.ndarray | None = None
        for number, index in self._segments.items():
            own = of_segment == np.uint64(number)
            if own.any():
                vectors = index.vectors(numbers[own].tolist())
                found = np.empty((len(places), vectors.shape[1]), np.float32) if found is None else found
                found[own] = vectors
        return np.zeros((0, 0), np.float32) if found is None else found
