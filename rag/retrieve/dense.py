"""Dense retrieval: the encoder's query vector against the index's passage vectors."""

from __future__ import annotations

from collections.abc import Sequence

from rag.data import Corpus
from rag.retrieve.encoder import Encoder
from rag.types import Hit, VectorIndex, ranked


class DenseRetriever:
    """Joins an encoder, a vector index and the corpus whose rows the index numbers."""

    def __init__(self, encoder: Encoder, index: VectorIndex, corpus: Corpus):
        self.encoder, self.index, self.corpus = encoder, index, corpus

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest cosine for each query, best first, ties by id."""
        if not queries:
            return []
        scores, rows = self.index.search(self.encoder.encode_queries(queries), min(k, len(self.corpus)))
        return [
            ranked([Hit(self.corpus[r], float(s)) for s, r in zip(ss, rr, strict=True) if r >= 0])
            for ss, rr in zip(scores, rows.tolist(), strict=True)
        ]
