"""Scores taken over from another run, mixed with new ones."""

from rag.runs.known_scores import KnownScoresReranker
from rag.types import Hit, Passage

PASSAGES = [Passage(f"p{n}@0", f"text {n}") for n in range(4)]
HITS = [Hit(passage, 0.1) for passage in PASSAGES]


class Recorder:
    def __init__(self):
        self.asked = []

    def rerank(self, queries, candidates):
        self.asked += [(q, hit.passage.id) for q, hits in zip(queries, candidates, strict=True) for hit in hits]
        return [[Hit(hit.passage, 2.0) for hit in hits] for hits in candidates]


def test_only_unknown_pairs_are_scored_and_all_are_ranked_together():
    inner = Recorder()
    known = {("a", "p0@0"): 3.0, ("a", "p2@0"): 1.0, ("b", "p1@0"): 2.0, ("b", "p9@0"): 9.0}
    first, second = KnownScoresReranker(lambda: inner, known).rerank(["a", "b"], [HITS[:3], HITS[:2]])
    assert [(hit.passage.id, hit.score) for hit in first] == [("p0@0", 3.0), ("p1@0", 2.0), ("p2@0", 1.0)]
    assert [(hit.passage.id, hit.score) for hit in second] == [("p0@0", 2.0), ("p1@0", 2.0)]
    assert inner.asked == [("a", "p1@0"), ("b", "p0@0")]


def test_the_model_is_not_loaded_where_every_pair_is_known():
    def load():
        raise AssertionError("loaded")

    known = {("a", passage.id): float(n) for n, passage in enumerate(PASSAGES)}
    (hits,) = KnownScoresReranker(load, known).rerank(["a"], [HITS])
    assert [hit.passage.id for hit in hits] == ["p3@0", "p2@0", "p1@0", "p0@0"]
    assert KnownScoresReranker(load, {}).rerank(["a"], [[]]) == [[]]
