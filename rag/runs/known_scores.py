"""Scores that another run already computed, so that the same pair is never read twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rag.types import Hit, Reranker, ranked

KnownScores = Mapping[tuple[str, str], float]


class KnownScoresReranker:
    """Takes the score of a (query, passage id) pair from `known`, and asks the reranker for the others alone.

    `load` gives the reranker; it is called when the first unknown pair comes.
    """

    def __init__(self, load: Callable[[], Reranker], known: KnownScores):
        self._load, self._known = load, known

    def rerank(self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Every candidate with its score, best first, ties by id."""
        unknown = [
            [hit for hit in hits if (query, hit.passage.id) not in self._known]
            for query, hits in zip(queries, candidates, strict=True)
        ]
        asked = [row for row, hits in enumerate(unknown) if hits]
        scored: dict[int, list[Hit]] = {}
        if asked:
            answers = self._load().rerank([queries[row] for row in asked], [unknown[row] for row in asked])
            scored = dict(zip(asked, answers, strict=True))
        return [
            ranked(scored.get(row, []) + [h for hit in hits if (h := self._remembered(query, hit))])
            for row, (query, hits) in enumerate(zip(queries, candidates, strict=True))
        ]

    def _remembered(self, query: str, hit: Hit) -> Hit | None:
        score = self._known.get((query, hit.passage.id))
        return None if score is None else Hit(hit.passage, score)
