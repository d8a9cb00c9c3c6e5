"""The reranker that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rag.types import Hit


class KeepOrder:
    """The reranker that changes nothing: candidates keep the retriever's order and scores."""

    def rerank(self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        return [list(hits) for hits in candidates]
