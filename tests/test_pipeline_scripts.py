"""A question in letters that reranker and reader do not know is kept from them."""

import pytest

from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline, Reading
from rag.retrieve.bm25 import BM25Retriever
from rag.types import Hit, Passage, Query, ReadSpan, ranked
from tests.fakes.pipelines import Echo

PASSAGES = [
    Passage("far", "The city 北京市 is the capital of China. It is large."),
    Passage("near", "北京 北京 is the capital. It is old."),
]
ENGLISH, CHINESE = Query("e", "capital of China"), Query("c", "北京在哪里？")


class Knowing:
    """A reranker that turns the order around, with low scores; a reader that finds the first word."""

    def __init__(self):
        self.asked = []

    def rerank(self, queries, candidates):
        self.asked += [(query, len(hits)) for query, hits in zip(queries, candidates, strict=True)]
        return [ranked([Hit(hit.passage, -9.0 - n) for n, hit in enumerate(reversed(hits))]) for hits in candidates]

    def read(self, queries, contexts):
        return [[ReadSpan(0, 3, 9.0, 0.0) for _ in passages] for passages in contexts]


@pytest.fixture
def make():
    def build(reranker, **options):
        return Pipeline(
            Lazy.of(BM25Retriever(Corpus(PASSAGES))),
            Lazy.of(reranker),
            Lazy.of(Echo()),
            get_prompt("cited-v1"),
            depths=Depths(contexts=2),
            rerank_threshold=-5.0,
            sentence_margin=1.0,
            reading=Reading(Lazy.of(reranker), 2, 2.0),
            checks_support=True,
            **options,
        )

    return build


def test_a_question_in_other_letters_keeps_the_order_and_is_not_refused_by_score(make):
    knowing = Knowing()
    english, chinese = make(knowing, latin_alone=True).run([ENGLISH, CHINESE])
    assert knowing.asked == [(ENGLISH.text, 2), (CHINESE.text, 0)]  # and no sentences, no answers
    assert english.answer.abstained
    assert (
        [hit.passage.id for hit in chinese.reranked] == [hit.passage.id for hit in chinese.retrieved] == ["near", "far"]
    )
    assert not chinese.answer.abstained
    assert (chinese.spans, dict(chinese.excerpts), chinese.support) == ({}, {}, None)


def test_the_stream_of_such_a_question_ends_in_the_same_answer(make):
    pipeline = make(Knowing(), latin_alone=True)
    *_, last = pipeline.stream(CHINESE)
    (whole,) = pipeline.run([CHINESE])
    assert (last.answer.text, last.answer.citations) == (whole.answer.text, whole.answer.citations)


def test_models_for_every_script_are_asked_every_question(make):
    knowing = Knowing()
    responses = make(knowing).run([ENGLISH, CHINESE])
    assert knowing.asked == [(ENGLISH.text, 2), (CHINESE.text, 2)]
    assert [response.answer.abstained for response in responses] == [True, True]
