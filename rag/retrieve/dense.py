"""Dense retrieval: the encoder's query vector against the index's passage vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.data import Corpus
from rag.retrieve.encoder import Encoder
from rag.types import Hit, VectorIndex, ranked


class DenseRetriever:
    """Joins an encoder, a vector index and the corpus whose rows the index numbers.

    `within`, (n,) bool, says which rows may be found; None: all.
    """

    def __init__(self, encoder: Encoder, index: VectorIndex, corpus: Corpus, within: np.ndarray | None = None):
        self.encoder, self.index, self.corpus, self.within = encoder, index, corpus, within

    def restricted_to(self, rows: np.ndarray) -> DenseRetriever:
        """The same index, in which only `rows`, (n,) bool, may be found."""
        return DenseRetriever(self.encoder, self.index, self.corpus, rows)

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest cosine for each query, best first, ties by id."""
        if not queries:
            return []
        k = min(k, len(self.corpus))
        scores, rows = self.index.search(self.encoder.encode_queries(queries), k, self.within)
        return [
            ranked([Hit(self.corpus[r], float(s)) for s, r in zip(ss, rr, strict=True) if r >= 0])
            for ss, rr in zip(scores, rows.tolist(), strict=True)
        ]
