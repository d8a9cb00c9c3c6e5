"""Batches with a span reader: its stage, what is stored and read again, and what other runs may be used for."""

import json
import os

import pytest

from rag.config import load_settings
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.evidence import EvidenceModel, EvidenceThreshold
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline, Reading
from rag.rerank.keep_order import KeepOrder
from rag.resume import read_jsonl
from rag.retrieve.bm25 import BM25Retriever
from rag.runs import batch
from rag.runs.batch import run_batch
from rag.runs.stored import EXCERPTS, GENERATED, PREDICTIONS, RETRIEVED, SPANS, StoredStages, as_begun
from rag.types import CANNOTANSWER, ReadSpan
from tests.fakes.pipelines import Echo, Finds

QUESTIONS = [
    Question("q0", "who", "who designed the amber line"),
    Question("q1", "ferry", "ferry to tern island"),
    Question("q2", "x", "xylophone"),
]
MODEL = EvidenceModel(("reader",), (0.0,), (1.0,), (1.0,), 0.0)
IDENTITY = {"index": "i", "generator": "g", "rerank_threshold": None, "settings": {"generator": {"seed": 0}}}


def with_reader(margin=None, *, reader="r", threshold=None, **more):
    """The identity of a run with a reader; `threshold` is on the margin."""
    settings = {**IDENTITY["settings"], "reader": {"depth": 3, "answer_margin": margin, **more}}
    evidence = {} if threshold is None else {"evidence": {"features": ["reader"], "bias": 0.0}}
    return {**IDENTITY, "reader": reader, "settings": settings, "rerank_threshold": threshold, **evidence}


@pytest.fixture
def predict(tmp_path, passages):
    """Runs a batch into a folder by name; returns the folder, its generator's calls and the passages read."""
    corpus = Corpus(passages)

    def run(name, identity, word="Clara Voss", sentence_margin=None, **options):
        settings = identity["settings"].get("reader")
        reader, generator = Finds(word), Echo()
        threshold = identity["rerank_threshold"]
        pipeline = Pipeline(
            Lazy.of(BM25Retriever(corpus)),
            Lazy.of(KeepOrder()),
            Lazy(lambda: generator),
            get_prompt("cited-v1"),
            depths=Depths(5, 5, 2),
            rerank_threshold=EvidenceThreshold(threshold, MODEL) if "evidence" in identity else threshold,
            sentence_margin=sentence_margin,
            reading=Reading(Lazy(lambda: reader), 3, settings["answer_margin"]) if settings else None,
        )
        run_batch(pipeline, QUESTIONS, corpus, tmp_path / name, identity, **options)
        return tmp_path / name, generator.calls, reader.read_passages

    return run


def rows(folder, name=PREDICTIONS):
    return {row["qid"]: row for row in read_jsonl(folder / name)}


def test_what_is_read_is_a_stage_of_its_own_and_stands_in_the_predictions(predict, passages):
    folder, _, _ = predict("run", with_reader())
    stored, predicted = rows(folder, SPANS), rows(folder)
    assert stored["q0"]["spans"]["doc_0@0"] == [50, 60, 7.0, 2.0]
    assert stored["q2"]["spans"] == {}
    assert predicted["q0"]["spans"] == stored["q0"]["spans"]
    assert "spans" not in predicted["q2"]
    assert predicted["q0"]["seconds"]["read"] >= 0
    assert list(json.loads((folder / "cost.json").read_text("utf-8"))["stages"])[:3] == ["retrieve", "rerank", "read"]
    again = StoredStages(folder, Corpus(passages))
    for response in (again.read(QUESTIONS[0]), again.generated(QUESTIONS[0])):
        assert response.spans["doc_0@0"] == ReadSpan(50, 60, 7.0, 2.0)
        assert "read" in response.timings


def test_a_run_from_before_there_were_readers_is_read(predict, passages):
    folder, _, _ = predict("run", IDENTITY)
    assert not (folder / SPANS).exists()
    assert "spans" not in rows(folder)["q0"]
    response = StoredStages(folder, Corpus(passages)).generated(QUESTIONS[0])
    assert (response.spans, "read" in response.timings) == ({}, False)


def test_a_run_that_was_begun_before_readers_goes_on_without_one(predict, tmp_path, capsys):
    reads, silent = load_settings(overrides=["reader.enabled=true"]), load_settings(overrides=["reader.enabled=false"])
    before, since = predict("before", IDENTITY)[0], predict("since", with_reader())[0]
    assert as_begun(reads, tmp_path / "none") is reads
    assert as_begun(reads, since) is reads
    assert capsys.readouterr().err == ""
    assert as_begun(reads, before) == silent
    assert "goes on without one" in capsys.readouterr().err
    assert as_begun(silent, before) is silent


def test_sentences_that_were_chosen_for_fewer_questions_are_chosen_anew(predict):
    lax, strict = with_reader(5.0), with_reader(6.0)
    other, _, _ = predict("spans", lax, sentence_margin=6.0)
    folder, calls, _ = predict("none", strict, sentence_margin=6.0, reuse=[other])
    assert rows(folder, EXCERPTS)["q0"]["excerpts"] != {}  # no longer answered by its span
    assert calls == [1]


def test_a_batch_that_stops_after_reranking_reads_too(predict):
    folder, calls, _ = predict("run", with_reader(), generate=False)
    assert rows(folder)["q0"]["spans"]["doc_0@0"] == [50, 60, 7.0, 2.0]
    assert (rows(folder)["q0"]["answer"], calls) == (None, [])


def test_a_torn_stage_is_read_to_its_end(predict, monkeypatch):
    monkeypatch.setattr(batch, "RERANK_CHUNK", 1)
    folder, _, _ = predict("run", with_reader())
    whole = [row["spans"] for row in read_jsonl(folder / SPANS)]
    os.truncate(folder / SPANS, (folder / SPANS).stat().st_size - 60)
    for later in (GENERATED, PREDICTIONS):
        (folder / later).unlink()
    _, _, read = predict("run", with_reader())
    assert [row["spans"] for row in read_jsonl(folder / SPANS)] == whole
    assert "doc_0@0" not in read  # of the first question, whose line was whole


def test_refusals_by_evidence_are_by_score_and_undo_answers_that_were_taken_over(predict):
    predict("lax", with_reader())
    folder, calls, read = predict("strict", with_reader(threshold=0.0), reuse=[folder_of("lax", predict)])
    found = rows(folder)
    assert (found["q0"]["abstained_by"], found["q1"]["abstained_by"]) == (None, "score")
    assert (found["q1"]["answer"], found["q1"]["contexts"]) == (CANNOTANSWER, [])
    assert (calls, read) == ([], [])


def folder_of(name, predict):
    return predict(name, with_reader())[0]


def test_an_answer_by_its_span_is_stored_without_a_prompt(predict):
    folder, calls, _ = predict("run", with_reader(5.0))
    assert calls == [1]  # the ferry alone
    row = rows(folder)["q0"]
    assert (row["answer"], row["citations"], row["tokens"]) == ("Clara Voss", ["doc_0@0"], {})
    assert (row["abstained"], row["seconds"]["generate"]) == (False, 0.0)
    assert rows(folder, GENERATED)["q0"]["prompt_sha256"] == ""


@pytest.mark.parametrize(
    ("theirs", "ours", "asked"),
    [
        # The same, or without a part in what was answered.
        (with_reader(), with_reader(), 0),
        (IDENTITY, with_reader(), 0),
        (with_reader(), IDENTITY, 0),
        (with_reader(), with_reader(reader="other"), 0),
        # One that leaves to spans, or to evidence, what the other asks.
        (with_reader(5.0), with_reader(5.0), 0),
        (with_reader(5.0), with_reader(), 1),
        (with_reader(5.0), with_reader(5.0, reader="other"), 1),
        (with_reader(threshold=0.0), with_reader(threshold=0.0), 0),
        (with_reader(threshold=0.0), with_reader(threshold=1.0), 0),
        (with_reader(threshold=0.0), with_reader(threshold=-9.0), 1),
        (with_reader(threshold=0.0), with_reader(), 1),
        (with_reader(threshold=0.0), {**with_reader(), "rerank_threshold": 0.0}, 1),
        ({**with_reader(), "rerank_threshold": -9.0}, with_reader(threshold=0.0), 1),  # scales differ
    ],
)
def test_answers_are_taken_over_from_a_run_that_left_no_more_to_its_reader(predict, theirs, ours, asked):
    other, _, _ = predict("theirs", theirs)
    stored = rows(other, GENERATED)
    forgotten = [{**row, "prompt_sha256": ""} for row in stored.values()]  # else equal prompts are answered from there
    (other / GENERATED).write_text("".join(json.dumps(row) + "\n" for row in forgotten), "utf-8")
    predict("fresh", ours)
    folder, calls, _ = predict("ours", ours, reuse=[other])
    assert (sum(calls) > 0) == bool(asked)
    fresh = rows(folder.parent / "fresh")
    for qid, row in rows(folder).items():
        assert {**row, "seconds": None} == {**fresh[qid], "seconds": None}


def test_spans_of_another_reader_or_depth_are_not_taken_over(predict):
    other, _, _ = predict("theirs", with_reader())
    for n, ours in enumerate((with_reader(reader="other"), {**with_reader(), "settings": {"reader": {"depth": 2}}})):
        ours["settings"]["reader"].setdefault("answer_margin", None)
        _, _, read = predict(f"ours{n}", ours, reuse=[other])
        assert read
    _, _, read = predict("same", with_reader(), reuse=[other])
    assert read == []
    assert (other.parent / "same" / RETRIEVED).is_file()
