"""Answers compared with what they cite, as a step of the pipeline."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from rag.build.identity import run_identity
from rag.build.pipelines import checks_support
from rag.config import load_settings
from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline, Reading
from rag.retrieve.bm25 import BM25Retriever
from rag.types import Query
from tests.fakes.pipelines import ByWords, Echo, Finds

DESIGNED, NOTHING = Query("1", "who designed the amber line"), Query("x", "xylophone")


@pytest.fixture
def make(passages):
    def build(reranker=None, **options):
        return Pipeline(
            Lazy.of(BM25Retriever(Corpus(passages))),
            Lazy.of(reranker or ByWords()),
            Lazy.of(Echo()),
            get_prompt("cited-v1"),
            depths=Depths(5, 5, 2),
            **{"checks_support": True, **options},
        )

    return build


def test_an_answer_is_checked_and_a_refusal_is_not(make):
    answered, refused = make().run([DESIGNED, NOTHING])
    assert answered.answer.text == "Amber Line"
    assert answered.support.word_for_word == ("doc_0@0",)
    assert answered.support.agreement is None
    assert list(answered.timings) == ["retrieve", "rerank", "generate", "check"]
    assert (refused.support, "check" in refused.timings) == (None, False)


def test_all_answers_of_a_batch_are_checked_in_one_call_and_none_where_all_are_refused(make):
    class Counts(ByWords):
        calls = 0

        def rerank(self, queries, candidates):
            self.calls += 1
            return super().rerank(queries, candidates)

    counts = Counts()
    pipeline = make(counts)
    pipeline.run([DESIGNED, Query("2", "ferry to tern island")])
    assert counts.calls == 2  # the order of the passages, and the check
    pipeline.run([NOTHING])
    assert counts.calls == 3


def test_without_the_check_nothing_is_said(make):
    (response,) = make(checks_support=False).run([DESIGNED])
    assert (response.support, "check" in response.timings) == (None, False)
    *_, last = make(checks_support=False).stream(DESIGNED)
    assert last.support is None


def test_the_last_snapshot_of_a_stream_has_the_support_of_run(make):
    pipeline = make()
    (whole,) = pipeline.run([DESIGNED])
    *before, last = pipeline.stream(DESIGNED)
    assert last.support == whole.support
    assert all(snapshot.support is None for snapshot in before)


def test_what_the_reader_reads_is_compared_with_the_answer(make):
    (same,) = make(reading=Reading(Lazy.of(Finds("Amber Line")))).run([DESIGNED])
    (other,) = make(reading=Reading(Lazy.of(Finds("Clara Voss")))).run([DESIGNED])
    assert (same.support.agreement, other.support.agreement) == (1, 0)
    assert same.support.score == same.support.logit + 10


def test_a_span_that_is_the_answer_is_checked_too(make):
    pipeline = make(reading=Reading(Lazy.of(Finds("Clara Voss")), 3, 5.0))
    (response,) = pipeline.run([DESIGNED])
    *_, last = pipeline.stream(DESIGNED)
    assert response.answer.text == last.answer.text == "Clara Voss"
    assert response.support == last.support
    assert (response.support.word_for_word, response.support.agreement) == (("doc_0@0",), 1)


def test_a_stored_answer_is_checked_again_where_it_is_still_one(make):
    pipeline = make()
    (response,) = pipeline.run([DESIGNED])
    stored = dataclasses.replace(response, support=None)
    (again,) = pipeline.check(pipeline.parse([stored]))
    assert again.support == response.support
    pipeline.rerank_threshold = 1e9
    (undone,) = pipeline.check(pipeline.parse([stored]))
    assert (undone.answer.abstained, undone.support) == (True, None)


@pytest.mark.parametrize(
    ("overrides", "checked"), [([], True), (["support.enabled=false"], False), (["reranker.enabled=false"], False)]
)
def test_answers_are_checked_by_default_where_a_reranker_serves(overrides, checked):
    assert checks_support(load_settings(None, overrides)) == checked


def test_whether_answers_are_checked_makes_no_other_run():
    # A folder that was begun without the check, or by an older version, goes on with it.
    def identity(*overrides):
        serving = SimpleNamespace(
            settings=load_settings(None, ["prompt.name=extract-v1", *overrides]),
            manifest=SimpleNamespace(fingerprint="i", encoder=SimpleNamespace(weights_sha256="e")),
            rerank_threshold=None,
            index_folder=Path("my.index"),
            reranker_sha256=lambda: "r",
            query_identity=dict,
            reader=None,
        )
        return run_identity(serving, "q.txt", generate=False)

    assert identity() == identity("support.enabled=false")
    assert "support" not in identity()["settings"]
