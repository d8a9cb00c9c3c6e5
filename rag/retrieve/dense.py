"""Dense retrieval: the encoder's query vector against the index's passage vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.data.passages import Corpus
from rag.retrieve.encoder import Encoder
from rag.types import Hit, VectorIndex, ranked


class DenseRetriever:
    """Joins an encoder, a vector index and the corpus whose rows the index numbers.

    `within`, (n,) bool, says which passages may be found; None: all. `windows`, (m,) int, says for each of the index's
    rows behind the passages' own which passage it is a window of; the nearest of its vectors is a passage's score.
    """

    def __init__(
        self,
        encoder: Encoder,
        index: VectorIndex,
        corpus: Corpus,
        within: np.ndarray | None = None,
        windows: np.ndarray | None = None,
    ):
        self.encoder, self.index, self.corpus, self.within = encoder, index, corpus, within
        self._windows = np.zeros(0, np.int64) if windows is None else windows
        self._passage_of_row = np.concatenate([np.arange(len(corpus)), self._windows])

    def restricted_to(self, rows: np.ndarray) -> DenseRetriever:
        """The same index, in which only `rows`, (n,) bool, may be found."""
        return DenseRetriever(self.encoder, self.index, self.corpus, rows, self._windows)

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest cosine (see `windows`) for each query, best first, ties by id."""
        if not queries:
            return []
        k = min(k, len(self.corpus))
        vectors = self.encoder.encode_queries(queries)
        within = None if self.within is None else self.within[self._passage_of_row]
        n_rows = k
        while True:
            scores, rows = self.index.search(vectors, n_rows, within)
            found = [self._best_of_each(*pair) for pair in zip(scores.tolist(), rows.tolist(), strict=True)]
            # Several rows may be of one passage; a query with a padded row has seen all that there is.
            short = any(len(best) < k and row[-1] >= 0 for best, row in zip(found, rows.tolist(), strict=True))
            if not short or n_rows == len(self._passage_of_row):
                break
            n_rows = min(2 * n_rows, len(self._passage_of_row))
        return [ranked([Hit(self.corpus[row], score) for row, score in best.items()])[:k] for best in found]

    def _best_of_each(self, scores: list[float], rows: list[int]) -> dict[int, float]:
        """Passage row -> the score of the first, and so the best, of its index rows."""
        best: dict[int, float] = {}
        for score, row in zip(scores, rows, strict=True):
            if row >= 0:
                best.setdefault(int(self._passage_of_row[row]), score)
        return best
