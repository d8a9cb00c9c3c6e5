"""Fusion of several retrievers by reciprocal rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag.types import Hit, Passage, Retriever, ranked


class HybridRetriever:
    """Reciprocal rank fusion: score(p) = sum over retrievers of weight / (rrf_k + rank of p), ranks from 1.

    Cormack, Clarke, Büttcher 2009, https://doi.org/10.1145/1571941.1572114. Ranks can be compared where scores cannot:
    a cosine and a BM25 score have no common scale. A small `rrf_k` favours the first ranks, a large one passages that
    several retrievers found. Each retriever is asked for `depth` candidates (at least k). `weights` are by retriever
    name; a retriever that it does not name has weight 1.
    """

    def __init__(
        self,
        retrievers: Mapping[str, Retriever],
        *,
        weights: Mapping[str, float] | None = None,
        rrf_k: int = 60,
        depth: int = 100,
    ):
        self.retrievers = dict(retrievers)
        self.weights = {name: (weights or {}).get(name, 1.0) for name in self.retrievers}
        self.rrf_k = rrf_k
        self.depth = depth

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest fused score for each query, best first, ties by id."""
        return self.retrieve_with_parts(queries, k)[0]

    def retrieve_with_parts(self, queries: Sequence[str], k: int) -> tuple[list[list[Hit]], dict[str, list[list[Hit]]]]:
        """What `retrieve` returns, and the k best of each retriever, by its name."""
        depth = max(k, self.depth)
        runs = {name: retriever.retrieve(queries, depth) for name, retriever in self.retrievers.items()}
        fused = [
            fuse_ranks([(self.weights[name], run[row]) for name, run in runs.items()], self.rrf_k)[:k]
            for row in range(len(queries))
        ]
        return fused, {name: [hits[:k] for hits in run] for name, run in runs.items()}


def fuse_ranks(lists: Sequence[tuple[float, Sequence[Hit]]], rrf_k: int) -> list[Hit]:
    """All passages of one query's lists, which have weights, by fused score; what a list lacks gets nothing from it."""
    scores: dict[str, float] = {}
    passages: dict[str, Passage] = {}
    for weight, hits in lists:
        for rank, hit in enumerate(hits, 1):
            passages[hit.passage.id] = hit.passage
            scores[hit.passage.id] = scores.get(hit.passage.id, 0.0) + weight / (rrf_k + rank)
    return ranked([Hit(passages[pid], score) for pid, score in scores.items()])
