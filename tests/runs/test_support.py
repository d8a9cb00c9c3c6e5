"""Batches whose answers are checked: what is stored, and what a kill leaves to do."""

import json

import pytest

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline
from rag.resume import read_jsonl
from rag.retrieve.bm25 import BM25Retriever
from rag.runs.batch import run_batch
from rag.runs.stored import PREDICTIONS
from tests.fakes.pipelines import ByWords, Echo

QUESTIONS = [Question("q0", "who", "who designed the amber line"), Question("q1", "x", "xylophone")]
IDENTITY = {"index": "i", "settings": {}}


@pytest.fixture
def predict(tmp_path, passages):
    """Runs a batch; returns its predictions by id, and how often the reranker was asked."""
    corpus = Corpus(passages)

    def run(name="run", *, checks_support=True, **options):
        calls = []

        class Counts(ByWords):
            def rerank(self, queries, candidates):
                calls.append(len(queries))
                return super().rerank(queries, candidates)

        pipeline = Pipeline(
            Lazy.of(BM25Retriever(corpus)),
            Lazy(Counts),
            Lazy.of(Echo()),
            get_prompt("cited-v1"),
            depths=Depths(5, 5, 2),
            checks_support=checks_support,
        )
        run_batch(pipeline, QUESTIONS, corpus, tmp_path / name, IDENTITY, **options)
        assert not pipeline.reranker.loaded
        return {row["qid"]: row for row in read_jsonl(tmp_path / name / PREDICTIONS)}, calls

    return run


def test_predictions_hold_the_support_of_answers_and_none_of_refusals(predict, tmp_path):
    rows, calls = predict()
    found = rows["q0"]["support"]
    assert found["word_for_word"] == ["doc_0@0"]
    assert found["score"] == found["logit"]
    assert found["agreement"] is None
    assert rows["q0"]["seconds"]["check"] >= 0
    assert "support" not in rows["q1"]
    assert calls == [2, 1]  # both questions reranked, one answer checked
    assert "check" in json.loads((tmp_path / "run" / "cost.json").read_text("utf-8"))["stages"]


def test_a_finished_batch_checks_nothing_again(predict):
    predict()
    _, calls = predict()
    assert calls == []


def test_a_batch_without_the_check_or_without_answers_is_as_before(predict):
    rows, calls = predict(checks_support=False)
    assert ("support" in rows["q0"], calls) == (False, [2])
    rows, calls = predict("ranked", generate=False)
    assert ("support" in rows["q0"], calls) == (False, [2])


def test_answers_that_are_taken_over_are_checked_too(predict, tmp_path):
    predict("other", checks_support=False)
    rows, calls = predict(reuse=[tmp_path / "other"])
    assert rows["q0"]["support"]["word_for_word"] == ["doc_0@0"]
    assert calls == [1]
