"""Several retrievers, each over passages of its own, as one."""

from __future__ import annotations

from collections.abc import Sequence

from rag.types import Hit, Retriever


class JoinedRetriever:
    """The best of every retriever, then the second best of every, and so on: what differs in kind is not compared.

    Scores are 1 / rank; a passage that several find counts once.
    """

    def __init__(self, retrievers: Sequence[Retriever]):
        self.retrievers = retrievers

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k best for each query, best first."""
        found = [retriever.retrieve(queries, k) for retriever in self.retrievers]
        return [_in_turn([lists[row] for lists in found], k) for row in range(len(queries))]


def _in_turn(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    passages = {}
    for rank in range(max(map(len, lists), default=0)):
        for hits in lists:
            if rank < len(hits):
                passages.setdefault(hits[rank].passage.id, hits[rank].passage)
    return [Hit(passage, 1 / rank) for rank, passage in enumerate(list(passages.values())[:k], 1)]
