"""Calibrating with a span reader: what is stored, and what is said of it."""

import json

import numpy as np
import pytest

from rag.build.serving import serving_over
from rag.data.questions import Question
from rag.evidence import EvidenceThreshold
from rag.index.calibration import CALIBRATION_FILE
from rag.read.reader import SpanReader
from rag.rerank.cross_encoder import CrossEncoderReranker
from rag.runs.calibrate import make_calibration
from rag.types import CANNOTANSWER, ReadSpan
from tests.fakes.training import NOUNS

QUESTIONS = [
    Question(f"q{n}", "q", f"who built the {NOUNS[n % 30]} {n}", CANNOTANSWER if n % 3 == 0 else NOUNS[n % 30])
    for n in range(60)
]
LIMITS = {"min_precision": 0.5, "max_wrong_refusals": 0.15}


def number_of(query):
    return int(query.split()[-1])


@pytest.fixture
def serving(data, tiny_reader_folder, monkeypatch):
    """A reranker that tells nothing of a question, and a reader whose margin is what `margin` says of its number."""
    settings, folder = data
    reader = settings.reader.model_copy(update={"enabled": True, "model": str(tiny_reader_folder)})
    settings = settings.model_copy(update={"reader": reader})
    noise = np.random.default_rng(0).normal(size=60)
    monkeypatch.setattr(
        CrossEncoderReranker, "score", lambda self, pairs, **options: [noise[number_of(query)] for query, _ in pairs]
    )

    def make(margin):
        def read(self, queries, contexts):
            spans = [ReadSpan(0, 3, margin(number_of(query)), 0.0) for query in queries]
            return [[span] * len(passages) for span, passages in zip(spans, contexts, strict=True)]

        monkeypatch.setattr(SpanReader, "read", read)
        return serving_over(settings, folder / "index")

    return make


def stored(serving):
    return json.loads((serving.index_folder / CALIBRATION_FILE).read_text("utf-8"))


def test_a_margin_that_tells_is_stored_with_its_model_and_serves(serving):
    made = serving(lambda n: -4.0 if n % 3 == 0 else 4.0)
    lines = make_calibration(made, "dev.txt", QUESTIONS, None, **LIMITS)
    assert "the reader's margin counts beside the rerank score" in lines
    assert any(line.startswith("AUC of each: rerank 0.") and "reader 1.000" in line for line in lines)
    assert any("5-fold cross-validation): together 1.000, rerank 0." in line for line in lines)
    record = stored(made)
    assert record["evidence"]["features"] == ["rerank", "reader", "reader_mean"]
    assert record["evidence"]["reader"] == {
        "model": made.settings.reader.model,
        "serving": made.settings.reader.model,
        "depth": 3,
    }
    threshold = serving_over(made.settings, made.index_folder).rerank_threshold
    assert isinstance(threshold, EvidenceThreshold)
    low, high = (threshold.model.score({"rerank": 0.0, "reader": m, "reader_mean": m}) for m in (-4.0, 4.0))
    assert low < threshold.value <= high
    assert any(line.startswith(f"threshold {threshold.value:.3f}: ") for line in lines)


def test_a_margin_that_tells_nothing_is_said_and_not_stored(serving):
    made = serving(lambda n: 1.0)
    lines = make_calibration(made, "dev.txt", QUESTIONS, None, **LIMITS)
    assert "the reader's margin does not help, so the rerank score alone decides" in lines
    assert "evidence" not in stored(made)
    assert stored(made)["compared"]["cross_validated"].keys() == {"rerank", "together"}


def test_calibrating_again_goes_on_with_its_own_run(serving, monkeypatch):
    made = serving(lambda n: -4.0 if n % 3 == 0 else 4.0)
    make_calibration(made, "dev.txt", QUESTIONS, None, **LIMITS)
    first = stored(made)
    monkeypatch.setattr(SpanReader, "read", lambda *given: pytest.fail("read again"))
    again = serving_over(made.settings, made.index_folder)  # which refuses by evidence now
    make_calibration(again, "dev.txt", QUESTIONS, None, **LIMITS)
    assert {**stored(made), "created": None, "sha256": None} == {**first, "created": None, "sha256": None}


def test_without_a_reader_the_record_is_that_of_the_rerank_logit_alone(serving):
    made = serving(lambda n: pytest.fail("read"))
    off = made.settings.model_copy(update={"reader": made.settings.reader.model_copy(update={"enabled": False})})
    made = serving_over(off, made.index_folder)
    lines = make_calibration(made, "dev.txt", QUESTIONS, None, **LIMITS)
    assert stored(made).keys() == {
        *("threshold", "curve", "auc", "n", "n_unanswerable", "min_precision", "max_wrong_refusals"),
        *("reranker_model", "serving", "index", "queries", "created", "sha256"),
    }
    assert not any(line.startswith("AUC of each") for line in lines)
