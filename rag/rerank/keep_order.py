"""The reranker that changes nothing, for a pipeline without one."""

from __future__ import annotations

from collections.abc import Sequence

from rag.types import Hit


class KeepOrder:
    """Candidates keep the retriever's order and scores."""

    def rerank(self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """The candidates as they are."""
        return [list(hits) for hits in candidates]
