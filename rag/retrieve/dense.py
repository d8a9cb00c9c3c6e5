"""Dense retrieval: the encoder's query vector against the index's passage vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.data.passages import Corpus
from rag.retrieve.encoder import Encoder
from rag.retrieve.segmented import SegmentedIndex
from rag.types import Hit, VectorIndex, ranked


class DenseRetriever:
    """An encoder, a vector index, and the corpus whose n passages the first n rows of the index stand for.

    `within`, (n,) bool, marks the passages that may be found; None: all. The index may hold m more rows, for windows of
    passages; `windows`, (m,) int, is the passage of each. A passage scores as the nearest of its vectors.
    """

    def __init__(
        self,
        encoder: Encoder,
        index: VectorIndex | SegmentedIndex,
        corpus: Corpus,
        within: np.ndarray | None = None,
        windows: np.ndarray | None = None,
    ):
        self.encoder = encoder
        self.index = index
        self.corpus = corpus
        self.within = within
        self.windows = np.zeros(0, np.int64) if windows is None else windows
        self._passage_of_row = np.concatenate([np.arange(len(corpus)), self.windows])

    def restricted_to(self, rows: np.ndarray) -> DenseRetriever:
        """The same index, in which only the passages marked in `rows`, (n,) bool, may be found."""
        return DenseRetriever(self.encoder, self.index, self.corpus, rows, self.windows)

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest cosine for each query, best first, ties by id."""
        if not queries:
            return []
        k = min(k, len(self.corpus))
        vectors = self.encoder.encode_queries(queries)
        within = None if self.within is None else self.within[self._passage_of_row]
        n_all_rows = len(self._passage_of_row)
        n_rows = k
        # Several rows may belong to one passage: ask for more rows until every query has k passages.
        while True:
            scores, rows = self.index.search(vectors, n_rows, within)
            found = [self._best_of_each(*pair) for pair in zip(scores.tolist(), rows.tolist(), strict=True)]
            # A last row of -1 is padding: the index has no more for this query.
            needs_more = any(len(best) < k and row[-1] >= 0 for best, row in zip(found, rows.tolist(), strict=True))
            if not needs_more or n_rows == n_all_rows:
                break
            n_rows = min(2 * n_rows, n_all_rows)
        return [ranked([Hit(self.corpus[row], score) for row, score in best.items()])[:k] for best in found]

    def _best_of_each(self, scores: list[float], rows: list[int]) -> dict[int, float]:
        """Passage number -> its best score: rows come best first, so the first one of a passage counts."""
        best: dict[int, float] = {}
        for score, row in zip(scores, rows, strict=True):
            if row >= 0:  # -1 is padding, which numpy would take for the last passage
                best.setdefault(int(self._passage_of_row[row]), score)
        return best
