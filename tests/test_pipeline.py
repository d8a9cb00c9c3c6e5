import dataclasses
from typing import get_args

import pytest

from rag.config import ContextOrder
from rag.data.passages import Corpus
from rag.errors import GenerationError
from rag.generate.builtin import get_prompt
from rag.generate.demonstrations import Demonstration, Demonstrations
from rag.generate.window import arrange
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.types import CANNOTANSWER, Answer, Hit, Passage, Query, Response, ranked
from tests.fakes.pipelines import Echo


@pytest.fixture
def make(passages):
    corpus = Corpus(passages)

    def build(generator=None, reranker=None, **options):
        generator = generator or Echo()
        retriever = Lazy.of(BM25Retriever(corpus))
        prompt = get_prompt("cited-v1")
        return Pipeline(retriever, Lazy.of(reranker or KeepOrder()), Lazy.of(generator), prompt, **options)

    return build


QUERIES = [Query("1", "who designed the amber line"), Query("2", "ferry to tern island"), Query("3", "bread dough")]


def test_one_response_per_query_in_order_with_cited_passages(make):
    responses = make().run(QUERIES)
    assert [r.query.id for r in responses] == ["1", "2", "3"]
    assert responses[0].answer.text == "Amber Line"
    assert responses[0].answer.citations == ("doc_0@0",)
    assert set(responses[0].timings) == {"retrieve", "rerank", "generate"}


def test_a_batch_is_one_call_to_the_generator(make):
    generator = Echo()
    make(generator).run(QUERIES)
    assert generator.calls == [3]


def test_one_question_is_a_batch_of_one(make):
    pipeline = make()
    for query, together in zip(QUERIES, pipeline.run(QUERIES), strict=True):
        (alone,) = pipeline.run([query])
        assert alone.answer == together.answer
        assert alone.reranked == together.reranked


def test_the_stream_grows_to_the_answer_of_run(make):
    pipeline = make()
    snapshots = list(pipeline.stream(QUERIES[0]))
    (whole,) = pipeline.run(QUERIES[:1])
    assert snapshots[0].retrieved
    assert snapshots[0].answer is None
    assert snapshots[-1].answer.text == whole.answer.text
    assert snapshots[-1].answer.citations == whole.answer.citations


def test_contexts_that_exceed_the_window_are_left_out_and_counted(make):
    roomy = make(Echo(), depths=Depths(contexts=2)).run(QUERIES[1:2])[0]
    assert (len(roomy.contexts), roomy.dropped_contexts) == (2, 0)
    tight = make(Echo(window=70), depths=Depths(contexts=2)).run(QUERIES[1:2])[0]
    assert (len(tight.contexts), tight.dropped_contexts) == (1, 1)
    assert tight.contexts[0] == roomy.contexts[0]


LONG = Passage("long@0", "word " * 100, "Long")
SHORT = [Passage(f"short{n}@0", f"It is short {n}.", "Short") for n in range(3)]


def composed(make, passages, window, *, excerpts=None):
    pipeline = make(Echo(window), depths=Depths(contexts=3))
    hits = tuple(Hit(passage, -float(n)) for n, passage in enumerate(passages))
    response = Response(Query("1", "who is it"), reranked=hits, excerpts=excerpts or {})
    return pipeline.compose(response, pipeline.generator.get())


def test_a_context_that_does_not_fit_beside_better_ones_makes_room_for_the_next(make):
    _, response = composed(make, [SHORT[0], LONG, SHORT[1]], 90)
    assert [hit.passage.id for hit in response.contexts] == ["short0@0", "short1@0"]
    assert (response.dropped_contexts, response.excerpts) == (1, {})


def test_of_a_best_context_that_does_not_fit_its_beginning_is_shown(make):
    conversation, response = composed(make, [LONG, *SHORT[:2]], 90)
    assert [hit.passage.id for hit in response.contexts] == ["long@0"]
    assert response.dropped_contexts == 2
    (start, end), *_ = response.excerpts["long@0"]
    assert (start, end % len("word ")) == (0, len("word"))
    assert conversation[-1]["content"].count("word") == (end + 1) // len("word ") > 10
    assert response.tokens["prompt"] == 80  # as much as the window holds beside ten tokens of answer
    chosen = {"long@0": ((5, 14), (100, 500)), "short1@0": ((0, 2),)}
    _, of_sentences = composed(make, [LONG, *SHORT[:2]], 90, excerpts=chosen)
    assert of_sentences.excerpts["long@0"][0] == (5, 14)
    assert 100 < of_sentences.excerpts["long@0"][1][1] < 500
    assert of_sentences.excerpts["short1@0"] == ((0, 2),)
    assert of_sentences.dropped_contexts == 1


def test_a_best_context_of_which_no_word_fits_makes_room_for_the_next(make):
    class Letters(Echo):
        def count_tokens(self, conversation):
            return sum(len(message["content"]) for message in conversation)

    endless, needed = Passage("code@0", "x" * 5000), 0
    for passages, window in (([SHORT[0]], 10_000), ([endless, SHORT[0]], None)):
        pipeline = make(Letters(window or needed + Letters.max_new_tokens), depths=Depths(contexts=2))
        hits = tuple(Hit(passage, -float(n)) for n, passage in enumerate(passages))
        _, response = pipeline.compose(Response(QUERIES[0], reranked=hits), pipeline.generator.get())
        needed = response.tokens["prompt"]
        assert [hit.passage.id for hit in response.contexts] == ["short0@0"]
    assert (response.dropped_contexts, response.excerpts) == (1, {})


def test_a_question_that_leaves_no_room_for_a_passage_is_refused_and_the_others_are_answered(make):
    pipeline = make(Echo(window=70), depths=Depths(contexts=2))
    endless = Query("x", "ferry to tern island " * 50)
    refused, answered = pipeline.run([endless, QUERIES[0]])
    assert refused.answer == Answer(CANNOTANSWER)
    assert (refused.contexts, refused.dropped_contexts) == ((), 2)
    assert answered.answer.text == "Amber Line"
    assert pipeline.generator.get().calls == [1]
    with pytest.raises(GenerationError, match="ask a shorter question"):
        list(pipeline.stream(endless))


def test_demonstrations_make_room_before_passages_do(make):
    demonstrations = Demonstrations([Demonstration("ferry to moth island", "word " * 50)], min_likeness=0.5)
    pipeline = make(Echo(window=10_000), depths=Depths(contexts=2))
    pipeline.prompt = dataclasses.replace(pipeline.prompt, demonstrations=demonstrations)
    (roomy,) = pipeline.run(QUERIES[1:2])
    plain_tokens = make(Echo(), depths=Depths(contexts=2)).run(QUERIES[1:2])[0].tokens["prompt"]
    assert roomy.tokens["prompt"] > plain_tokens + 50
    pipeline.generator = Lazy.of(Echo(window=plain_tokens + 20))
    (tight,) = pipeline.run(QUERIES[1:2])
    assert (len(tight.contexts), tight.dropped_contexts, tight.tokens["prompt"]) == (2, 0, plain_tokens)


class Score:
    def __init__(self, best):
        self.best = best

    def rerank(self, queries, candidates):
        return [[Hit(hit.passage, self.best - n) for n, hit in enumerate(hits)] for hits in candidates]


def test_the_order_of_the_contexts_is_that_of_the_prompt_and_of_the_numbers(make):
    hits = [Hit(Passage(name, name), -float(rank)) for rank, name in enumerate("abcde")]
    orders = {order: "".join(hit.passage.id for hit in arrange(hits, order)) for order in get_args(ContextOrder)}
    assert orders == {"best-first": "abcde", "best-last": "edcba", "best-at-both-ends": "acedb"}
    (first,) = make(depths=Depths(5, 5, 3)).run(QUERIES[:1])
    (last,) = make(depths=Depths(5, 5, 3), order="best-last").run(QUERIES[:1])
    assert first.contexts == last.contexts[::-1]
    assert last.answer.text == last.contexts[0].passage.title  # Echo cites [1], the first in the prompt
    assert last.answer.citations == (last.contexts[0].passage.id,)


def test_a_score_below_the_threshold_refuses_without_the_generator(make):
    generator = Echo()
    responses = make(generator, Score(-3.0), rerank_threshold=-2.0).run(QUERIES)
    assert all(r.answer.abstained for r in responses)
    assert generator.calls == []
    assert list(make(generator, Score(-3.0), rerank_threshold=-2.0).stream(QUERIES[0]))[-1].answer.abstained


def test_a_score_at_the_threshold_is_answered(make):
    (response,) = make(Echo(), Score(-2.0), rerank_threshold=-2.0).run(QUERIES[:1])
    assert not response.answer.abstained


def test_a_question_without_any_hit_is_refused(make):
    (response,) = make().run([Query("x", "xylophone")])
    assert response.answer.abstained
    assert response.retrieved == ()


def test_a_released_component_is_loaded_again_when_asked_for():
    loads = []
    lazy = Lazy(lambda: loads.append(1) or object())
    assert lazy.get() is lazy.get()
    lazy.release()
    lazy.get()
    assert len(loads) == 2


class Prefers:
    """Scores texts with a word high, all others low; counts its calls."""

    def __init__(self, word):
        self.word, self.calls = word, 0

    def rerank(self, queries, candidates):
        self.calls += 1
        return [
            ranked([Hit(h.passage, 9.0 if self.word in h.passage.text else -9.0) for h in hits]) for hits in candidates
        ]


def test_the_generator_sees_the_sentences_near_the_question(make):
    seen = []

    class Listens(Echo):
        def _answer(self, conversation):
            seen.append(conversation[-1]["content"])
            return super()._answer(conversation)

    query = QUERIES[0]
    for margin in (None, 6.0):
        pipeline = make(Listens(), Prefers("designed"), sentence_margin=margin)
        (answered,) = pipeline.run([query])
        *_, streamed = pipeline.stream(query)
        assert streamed.answer.text == answered.answer.text
        assert streamed.excerpts == answered.excerpts
        assert seen[-1] == seen[-2]
        assert pipeline.reranker.get().calls == (2 if margin is None else 4)
        assert set(answered.excerpts) == (set() if margin is None else {hit.passage.id for hit in answered.contexts})
    assert len(seen[-1]) < len(seen[0])
    assert all(hit.passage.text in seen[0] for hit in answered.contexts)


def test_a_refused_question_has_no_sentences_chosen(make):
    pipeline = make(reranker=Prefers("nothing"), sentence_margin=6.0, rerank_threshold=0.0)
    *_, last = pipeline.stream(QUERIES[0])
    assert last.answer.abstained
    assert pipeline.reranker.get().calls == 1
    (answered,) = pipeline.run([QUERIES[0]])
    assert (answered.excerpts, answered.timings["excerpt"]) == ({}, 0.0)
    assert pipeline.reranker.get().calls == 2
    # Training wants them whatever is refused.
    (chosen,) = pipeline.choose_sentences(pipeline.rerank(pipeline.retrieve([QUERIES[0]])))
    assert set(chosen.excerpts) == {hit.passage.id for hit in chosen.reranked[:3]}
