"""Fusion of several retrievers by reciprocal rank."""

from __future__ import annotations

from collections.abc import Sequence

from rag.types import Hit, Passage, Retriever, ranked


class HybridRetriever:
    """Reciprocal rank fusion: score(p) = sum over retrievers of weight / (rrf_k + rank of p), ranks from 1.

    Cormack, Clarke, Büttcher 2009, https://doi.org/10.1145/1571941.1572114. Each retriever is asked for `depth`
    candidates (at least k).
    """

    def __init__(
        self,
        retrievers: Sequence[Retriever],
        *,
        weights: Sequence[float] | None = None,
        rrf_k: int = 60,
        depth: int = 100,
    ):
        self.retrievers = list(retrievers)
        self.weights = list(weights) if weights is not None else [1.0] * len(self.retrievers)
        self.rrf_k, self.depth = rrf_k, depth

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest fused score for each query, best first, ties by id."""
        runs = [retriever.retrieve(queries, max(k, self.depth)) for retriever in self.retrievers]
        return [self._fuse(lists)[:k] for lists in zip(*runs, strict=True)]

    def _fuse(self, lists: Sequence[Sequence[Hit]]) -> list[Hit]:
        scores: dict[str, float] = {}
        passages: dict[str, Passage] = {}
        for weight, hits in zip(self.weights, lists, strict=True):
            for rank, hit in enumerate(hits, 1):
                passages[hit.passage.id] = hit.passage
                scores[hit.passage.id] = scores.get(hit.passage.id, 0.0) + weight / (self.rrf_k + rank)
        return ranked([Hit(passages[pid], score) for pid, score in scores.items()])
