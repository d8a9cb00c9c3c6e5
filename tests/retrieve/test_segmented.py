"""Segments searched as one find what one index of the passages that are left finds, with the same scores."""

import numpy as np
import pytest

from rag.data.passages import Corpus
from rag.data.stored import PLACE_SHIFT, rows_by_segment
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.counts import CountedBM25, CountedSegment
from rag.retrieve.segmented import MOST_PASSED_OVER, SegmentedIndex
from rag.retrieve.vectors import FaissIndex
from rag.types import Passage

WORDS = ["harbour", "island", "ferry", "bread", "yeast", "tower", "bridge", "river", "lamp", "stone", "sail", "wind"]
QUESTIONS = ["the harbour of the island", "bread and bread and yeast", "nothing known", "", "lamp", "wind river stone"]


def passages(n, seed=0):
    draw = np.random.default_rng(seed)
    return [
        Passage(f"{seed}d{m}@0", " ".join(draw.choice(WORDS, draw.integers(0, 30))), "A tower" if m % 7 == 0 else "")
        for m in range(n)
    ]


def place(segment, number):
    return segment << PLACE_SHIFT | number


def kept_of(rows, n_first, n_second):
    """The places of some passages of two segments, in an order of their own."""
    rows = np.array(rows)
    in_second = rows >= n_first
    return np.where(in_second, place(4, 0) + rows - n_first, rows).astype(np.uint64)


@pytest.fixture(params=["nothing gone", "some gone", "most gone"])
def order(request):
    """Rows of 200 passages in two segments, in the order that they have now."""
    rows = np.random.default_rng(3).permutation(200)
    return rows[: {"nothing gone": 200, "some gone": 180, "most gone": 60}[request.param]]


def test_bm25_gives_the_scores_of_an_index_made_anew_to_the_last_bit(tmp_path, order):
    first, second = passages(150), passages(50, seed=1)
    for number, own in ((0, first), (4, second)):
        BM25Retriever(Corpus(own)).save(tmp_path / str(number))
    corpus = Corpus([[*first, *second][row] for row in order])
    rows = rows_by_segment(kept_of(order, 150, 50), {0: 150, 4: 50})
    counted = CountedBM25([CountedSegment(tmp_path / str(n), rows[n]) for n in (0, 4)], corpus)
    anew = BM25Retriever(corpus)
    for question in QUESTIONS:
        words = anew.analyzer.words(question)
        known = [word for word in words if word in anew._bm25.vocab_dict]
        wanted = anew._bm25.get_scores(known) if known else np.zeros(len(corpus), np.float32)
        assert counted.scores(words).tobytes() == wanted.astype(np.float32).tobytes(), question
    within = np.arange(len(corpus)) % 3 == 0
    for one, other in ((counted, anew), (counted.restricted_to(within), anew.restricted_to(within))):
        assert one.retrieve(QUESTIONS, 10) == other.retrieve(QUESTIONS, 10)


def test_bm25_after_bm25_was_loaded_is_refused_without_its_counts(tmp_path):
    corpus = Corpus([Passage("a", "。。")])  # no word to count
    BM25Retriever(corpus).save(tmp_path)
    assert not (tmp_path / "counts.npy").exists()
    assert BM25Retriever.load(tmp_path, corpus).retrieve(["word"], 1) == [[]]


@pytest.mark.parametrize("factory", ["Flat", "HNSW32"])
def test_vectors_are_found_as_in_an_index_made_anew(order, factory):
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((200, 16), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = draw.standard_normal((5, 16), np.float32)
    first, second, anew = FaissIndex(16, factory), FaissIndex(16), FaissIndex(16)
    for index, own in ((first, vectors[:150]), (second, vectors[150:]), (anew, vectors[order])):
        index.add(own)
    joined = SegmentedIndex({0: first, 4: second}, kept_of(order, 150, 50))
    assert len(joined) == len(order)
    within = np.arange(len(order)) % 4 > 0
    for k in (1, 10, len(order)):
        for mask in (None, within):
            scores, rows = joined.search(queries, k, mask)
            wanted_scores, wanted_rows = anew.search(queries, k, mask)
            if factory == "Flat" or k <= 10:
                assert rows.tolist() == wanted_rows.tolist()
                # A graph adds up a score in another order.
                assert np.abs(scores - wanted_scores)[rows >= 0].max() <= (0 if factory == "Flat" else 1e-6)
    some = [5, 0, 17, 5]
    assert (joined.vectors(some) == vectors[order][some]).all()
    assert (200 - len(order) > MOST_PASSED_OVER) == (len(order) == 60)


@pytest.mark.parametrize("wrong", [place(4, 50), place(5, 0), place(0, 150)])
def test_places_that_are_not_there_are_refused(wrong):
    places = np.append(kept_of(np.arange(200), 150, 50), np.uint64(wrong))
    with pytest.raises(ValueError, match="it names"):
        rows_by_segment(places, {0: 150, 4: 50})
