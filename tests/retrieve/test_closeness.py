"""Cosines of questions with passages that anything may have found."""

import numpy as np
import pytest

from rag.data.passages import Corpus
from rag.retrieve.closeness import Closeness
from rag.retrieve.vectors import FaissIndex
from rag.types import Hit, Passage

PASSAGES = [Passage(f"p{n}@0", text) for n, text in enumerate(("east", "north", "west"))]
VECTORS = {"east": [1.0, 0.0], "north": [0.0, 1.0], "west": [-1.0, 0.0], "northeast": [0.6, 0.8]}


class Compass:
    """Embeds a direction; counts the passages that it was asked for."""

    def __init__(self):
        self.passages = []

    def encode_queries(self, queries):
        return np.array([VECTORS[query] for query in queries], np.float32)

    def encode_passages(self, passages):
        self.passages += passages
        return np.array([VECTORS[text] for text in passages], np.float32).reshape(-1, 2), 0


@pytest.fixture
def made():
    index = FaissIndex(2)
    # Behind the passages two windows of the last one, and one of the first between them.
    index.add(np.array([VECTORS[p.text] for p in PASSAGES] + [[0.0, 0.9], [0.5, 0.0], [0.3, 0.4]], np.float32))
    encoder = Compass()
    return Closeness(encoder, index, Corpus(PASSAGES), np.array([2, 0, 2])), encoder


def test_a_passage_is_as_near_as_the_nearest_of_its_vectors(made):
    closeness, encoder = made
    hits = [Hit(passage, 0.0) for passage in PASSAGES]
    found = closeness.cosines(["north", "east"], [hits, hits[::-1]])
    assert found[0] == pytest.approx([0.0, 1.0, 0.9])
    assert found[1] == pytest.approx([0.3, 0.0, 1.0])
    assert encoder.passages == []  # the index holds them


def test_a_passage_of_another_index_is_embedded(made):
    closeness, encoder = made
    attached = Passage("attached@0", "northeast")
    found = closeness.cosines(["north", "west", "east"], [[Hit(attached, 0.0)], [], [Hit(PASSAGES[0], 0.0)]])
    assert [list(map(float, own)) for own in found] == [pytest.approx([0.8]), [], pytest.approx([1.0])]
    assert encoder.passages == ["northeast"]
    assert closeness.cosines(["north"], [[]]) == [[]]
