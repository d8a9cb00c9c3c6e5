"""Several retrievers as one, each over its own passages."""

from __future__ import annotations

from collections.abc import Sequence

from rag.types import Hit, Passage, Retriever


class JoinedRetriever:
    """The best hit of every retriever, then the second best of every one, and so on.

    Scores of different indexes are not compared. The new scores are 1 / rank. A passage that several retrievers find
    counts once.
    """

    def __init__(self, retrievers: Sequence[Retriever]):
        self.retrievers = retrievers

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k best passages for each query, best first."""
        found = [retriever.retrieve(queries, k) for retriever in self.retrievers]
        return [_in_turn([lists[row] for lists in found], k) for row in range(len(queries))]


def _in_turn(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    passages: dict[str, Passage] = {}
    for rank in range(max((len(hits) for hits in lists), default=0)):
        for hits in lists:
            if rank < len(hits):
                passages.setdefault(hits[rank].passage.id, hits[rank].passage)
    return [Hit(passage, 1 / rank) for rank, passage in enumerate(list(passages.values())[:k], 1)]
