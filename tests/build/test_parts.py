"""Settings become components: what a running chat refuses by, what tells runs apart, which questions are scored."""

import json
import shutil
from pathlib import Path

import pytest

from rag.build.identity import generator_identity, retriever_record, run_identity
from rag.build.indexes import make_index
from rag.build.pipelines import make_pipeline
from rag.build.retrievers import Retrievers
from rag.build.serving import serving_over
from rag.build.threshold import calibration_beside, reader_record
from rag.config import load_settings
from rag.config.reader import ANSWER_MARGIN
from rag.errors import ConfigError, ModelError
from rag.evidence import EvidenceModel, EvidenceThreshold
from rag.files import json_line, weights_sha256, write_json
from rag.index.calibration import CALIBRATION_FILE
from rag.index.manifest import Manifest
from rag.lazy import Lazy
from rag.models.promoted import promote
from rag.rerank.cross_encoder import CrossEncoderReranker
from rag.runs.evaluate import make_evaluation
from rag.runs.stored import PREDICTIONS, RETRIEVED, RUN_FILE
from rag.serve.start import make_chat
from tests.fakes.tiny import write_corpus
from tests.fakes.training import PASSAGES


@pytest.fixture
def talk(data):
    """A conversation over an index; the retrievers that it answers from; and what calibrates it at a threshold."""
    settings, folder = data
    shelf = [Retrievers(settings, folder / "index")]

    def calibrate(threshold, manifest: Manifest):
        curve = [{"threshold": threshold - 1}, {"threshold": threshold + 1}]
        record = {"reranker_model": settings.reranker.model, "index": manifest.fingerprint}
        write_json(folder / "index" / CALIBRATION_FILE, {**record, "threshold": threshold, "curve": curve})

    conversation = make_chat(serving_over(settings, folder / "index"), lambda: shelf[0], lambda *chosen: None)
    return conversation, shelf, calibrate


def test_a_calibration_made_while_the_chat_runs_applies(talk):
    conversation, shelf, calibrate = talk
    assert conversation.threshold_at(None) is None
    calibrate(1.5, shelf[0].index.get().manifest)
    assert conversation.threshold_at(None) == 1.5
    assert [conversation.threshold_at(strictness) for strictness in (0.0, 0.1, 1.0)] == [None, 0.5, 2.5]


def test_what_changes_on_the_disk_changes_nothing_of_a_chat_that_runs(talk, data, monkeypatch):
    conversation, shelf, calibrate = talk
    settings, folder = data
    calibrate(1.5, shelf[0].index.get().manifest)
    monkeypatch.setattr("rag.index.manifest.file_sha256", lambda path: pytest.fail("the corpus was read again"))
    write_corpus(folder / "corpus.txt", PASSAGES[1:])
    promote(settings.reranker.model, folder)
    assert conversation.threshold_at(None) == 1.5
    assert isinstance(conversation.reranker.get(), CrossEncoderReranker)  # the folder that is promoted holds none


def test_after_an_upload_the_calibration_is_of_an_older_index_and_that_is_said_once(talk, data, capsys):
    conversation, shelf, calibrate = talk
    settings, folder = data
    calibrate(1.5, shelf[0].index.get().manifest)
    write_corpus(folder / "corpus.txt", PASSAGES[1:])
    make_index(settings, folder / "corpus.txt", folder / "index")
    assert conversation.threshold_at(None) == 1.5  # what is loaded answers on
    shelf[0] = Retrievers(settings, folder / "index")
    capsys.readouterr()
    assert [conversation.threshold_at(None) for _ in range(3)] == [None] * 3
    assert capsys.readouterr().err.count("calibrate again") == 1
    calibrate(2.5, shelf[0].index.get().manifest)
    assert conversation.threshold_at(None) == 2.5


def test_other_weights_of_the_same_size_are_another_generator(tiny_generator_folder, tmp_path):
    folder = shutil.copytree(tiny_generator_folder, tmp_path / "generator")
    settings = load_settings(None, [f"generator.model={folder}", "generator.kind=transformers"])
    before = generator_identity(settings)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    after = generator_identity(settings)
    assert after != before
    template = folder / "chat_template.jinja"
    template.write_text("{{ messages }}", "utf-8")
    assert generator_identity(settings) not in (before, after)


@pytest.mark.parametrize(("n_retrieved", "n_asked"), [(3, 3), (2, 5)])
def test_an_unfinished_run_over_a_sample_is_scored_on_its_questions(tmp_path, n_retrieved, n_asked):
    """Three of five questions were asked and one is answered; before all are retrieved nobody knows which three."""
    queries, run = tmp_path / "queries.txt", tmp_path / "run"
    rows = [{"qid": f"q{n}", "question": f"who {n}?", "rewrite": f"who {n}?"} for n in range(5)]
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "qrels.txt").write_text("".join(f"q{n}\t0\td{n}\t1\n" for n in range(5)), "utf-8")
    run.mkdir()
    write_json(run / RUN_FILE, {"n": 3})
    (run / RETRIEVED).write_bytes(b"".join(json_line({"qid": f"q{n}"}) for n in (1, 3, 4)[:n_retrieved]))
    bare = dict.fromkeys(("raw", "answer", "citations", "abstained", "abstained_by"))
    found = {"retrieved": [["d1", 1.0]], "reranked": [["d1", 1.0]], "contexts": [], "query": "who 1?", "source": "a"}
    (run / PREDICTIONS).write_bytes(json_line({"qid": "q1", **found, **bare, "seconds": {}, "tokens": {}}))
    scorer = Lazy(lambda: pytest.fail("nothing is answered"))
    metrics = make_evaluation(run, tmp_path / "qrels.txt", queries, scorer, scorer_name="", allow_unknown=False)
    assert (metrics["n_queries"], metrics["n_predicted"]) == (n_asked, 1)


EVIDENCE = {"features": ["rerank", "reader"], "mean": [1.0, 2.0], "scale": [1.0, 2.0], "weights": [0.5, 1.0]}


@pytest.fixture
def read(data, tiny_reader_folder):
    """Settings with a span reader, the index, and what calibrates it with that reader at a threshold by evidence."""
    settings, folder = data
    reader = settings.reader.model_copy(update={"enabled": True, "model": str(tiny_reader_folder)})
    settings = settings.model_copy(update={"reader": reader})

    def calibrate(manifest):
        curve = [{"threshold": 1.0}, {"threshold": 3.0}]
        served = {"model": reader.model, "serving": reader.model, "depth": 3}
        evidence = EVIDENCE | {"bias": 0.25, "threshold": 2.0, "curve": curve, "reader": served}
        record = {"reranker_model": settings.reranker.model, "index": manifest.fingerprint, "evidence": evidence}
        rerank_curve = [{"threshold": -2.0}, {"threshold": -1.0}]
        write_json(folder / "index" / CALIBRATION_FILE, {**record, "threshold": -1.5, "curve": rerank_curve})

    return settings, folder / "index", calibrate


def test_a_calibration_made_with_the_reader_that_serves_refuses_by_all_evidence(read):
    settings, index, calibrate = read
    assert serving_over(settings, index).rerank_threshold is None
    calibrate(serving_over(settings, index).manifest)
    serving = serving_over(settings, index)
    model = EvidenceModel(("rerank", "reader"), (1.0, 2.0), (1.0, 2.0), (0.5, 1.0), 0.25)
    assert serving.rerank_threshold == EvidenceThreshold(2.0, model)
    along = [serving.threshold_at(strictness, serving.manifest) for strictness in (None, 0.0, 0.1, 1.0)]
    assert along == [EvidenceThreshold(2.0, model), None, EvidenceThreshold(1.0, model), EvidenceThreshold(3.0, model)]


def test_without_that_reader_the_rerank_logit_decides_alone_and_another_is_told_once(read, capsys):
    settings, index, calibrate = read
    calibrate(serving_over(settings, index).manifest)

    def threshold(**changes):
        changed = settings.model_copy(update={"reader": settings.reader.model_copy(update=changes)})
        return serving_over(changed, index).rerank_threshold

    assert threshold(enabled=False) == -1.5
    assert capsys.readouterr().err == ""
    assert [threshold(depth=5), threshold(model="another/reader"), threshold(depth=5)] == [-1.5] * 3
    assert capsys.readouterr().err.count("calibrated with another reader") == 1
    by_hand = settings.model_copy(update={"abstain": settings.abstain.model_copy(update={"rerank_threshold": -7.0})})
    assert serving_over(by_hand, index).rerank_threshold == -7.0


def test_a_calibration_made_with_another_reranker_does_not_count_and_that_is_said_once(data, tmp_path, capsys):
    settings, folder = data
    other = shutil.copytree(settings.reranker.model, tmp_path / "other")
    manifest = serving_over(settings, folder / "index").manifest
    record = {"reranker_model": str(other), "serving": str(other), "index": manifest.fingerprint, "curve": []}
    write_json(folder / "index" / CALIBRATION_FILE, record | {"threshold": -1.5})
    assert [serving_over(settings, folder / "index").rerank_threshold for _ in range(2)] == [None] * 2
    said = capsys.readouterr().err
    assert said.count("calibrated with another reranker") == 1
    assert f"--set reranker.model={other}" in said
    promote(settings.reranker.model, other)  # the same reranker serves, under another name
    assert serving_over(settings, folder / "index").rerank_threshold == -1.5


def test_a_calibration_beside_the_reader_serves_every_index_that_has_none_of_its_own(read, tmp_path):
    settings, index, calibrate = read
    folder = tmp_path / "reader"
    shutil.copytree(settings.reader.model, folder)
    settings = settings.model_copy(update={"reader": settings.reader.model_copy(update={"model": str(folder)})})
    curve = [{"threshold": 0.5}, {"threshold": 1.5}]
    evidence = EVIDENCE | {"bias": 0.0, "threshold": 1.0, "curve": curve, "reader": {"depth": 3}}
    kept = {"reranker_model": settings.reranker.model, "threshold": -1.5, "curve": [], "evidence": evidence}
    write_json(folder / "rag_calibration.json", kept)

    def threshold(section="reader", **changes):
        section_changed = getattr(settings, section).model_copy(update=changes)
        return serving_over(settings.model_copy(update={section: section_changed}), index).rerank_threshold

    assert threshold() == EvidenceThreshold(1.0, EvidenceModel.of(evidence))
    serving = serving_over(settings, index)
    assert serving.threshold_at(1.0, serving.manifest).value == 1.5
    assert [threshold(depth=2), threshold(enabled=False)] == [None, None]
    assert threshold("abstain", rerank_threshold=-7.0) == -7.0
    calibrate(serving.manifest)  # with another reader: the rerank logit of this index's own calibration decides
    assert threshold() == -1.5
    (index / CALIBRATION_FILE).unlink()
    write_json(folder / "rag_calibration.json", kept | {"reranker_model": "another/reranker"})
    assert threshold() is None
    write_json(folder / "rag_calibration.json", {"evidence": {}})
    with pytest.raises(ModelError, match="holds no calibration"):
        threshold()


def test_a_calibration_beside_the_reranker_comes_first_and_names_its_reader(read, tmp_path):
    settings, index, _ = read
    folders = {name: tmp_path / name for name in ("reranker", "reader")}
    for name, folder in folders.items():
        shutil.copytree(getattr(settings, name).model, folder)
        section = getattr(settings, name).model_copy(update={"model": str(folder)})
        settings = settings.model_copy(update={name: section})
    curve = [{"threshold": 0.5}, {"threshold": 1.5}]
    evidence = EVIDENCE | {"bias": 0.0, "threshold": 1.0, "curve": curve, "reader": {"depth": 3}}
    named = {"model": str(folders["reader"]), "serving": str(folders["reader"]), "depth": 3}
    kept = {"reranker_model": str(folders["reranker"]), "threshold": -1.5, "curve": []}
    write_json(folders["reader"] / "rag_calibration.json", kept | {"evidence": evidence})
    write_json(
        folders["reranker"] / "rag_calibration.json",
        kept | {"threshold": -0.5, "evidence": evidence | {"threshold": 2.0, "reader": named}},
    )

    def threshold(**changes):
        changed = settings.model_copy(update={"reader": settings.reader.model_copy(update=changes)})
        return serving_over(changed, index).rerank_threshold

    assert threshold() == EvidenceThreshold(2.0, EvidenceModel.of(evidence))
    assert [threshold(enabled=False), threshold(depth=2)] == [-0.5, -0.5]  # its logit decides alone
    (folders["reranker"] / "rag_calibration.json").unlink()
    assert threshold() == EvidenceThreshold(1.0, EvidenceModel.of(evidence))


@pytest.mark.parametrize("reranker", ["rag-qa/minilm-reranker-openqa", "cross-encoder/ms-marco-MiniLM-L-12-v2"])
def test_the_packaged_models_refuse_by_the_evidence_of_reranker_and_reader_together(reranker):
    settings = load_settings(None, [f"reranker.model={reranker}"])
    calibration = calibration_beside(settings, reranker, settings.reader.model)
    assert calibration["evidence"]["features"] == ["rerank", "reader"]
    assert calibration["reranker_model"] == reranker


def test_a_calibration_with_other_weights_of_a_packaged_reader_does_not_count(read):
    settings, index, calibrate = read
    reader = settings.reader.model_copy(update={"model": "rag-qa/minilm-reader-openqa"})
    settings = settings.model_copy(update={"reader": reader})
    calibrate(serving_over(settings, index).manifest)
    kept = json.loads((index / CALIBRATION_FILE).read_text("utf-8"))
    record = reader_record(settings, reader.model)
    for weights, expected in ((record["weights"], 2.0), ("0" * 16, None)):
        kept["evidence"]["reader"] = {**record, "weights": weights}
        write_json(index / CALIBRATION_FILE, kept)
        threshold = serving_over(settings, index).rerank_threshold
        assert getattr(threshold, "value", None) == expected  # else the rerank logit decides alone
    del kept["evidence"]["reader"]["weights"]  # as it was written before weights were a part of it
    write_json(index / CALIBRATION_FILE, kept)
    assert serving_over(settings, index).rerank_threshold == -1.5


def test_a_span_answers_where_the_prompt_asks_for_a_phrase_unless_it_is_set_otherwise(read):
    settings, index, _ = read

    def margin(prompt, **changes):
        changed = settings.model_copy(
            update={
                "prompt": settings.prompt.model_copy(update={"name": prompt}),
                "reader": settings.reader.model_copy(update=changes),
            }
        )
        return make_pipeline(serving_over(changed, index), interactive=True).reading.answer_margin

    assert margin("extract-v1") == ANSWER_MARGIN
    assert margin("tuned-sentences-v1") is None
    assert margin("extract-v1", answer_margin=float("inf")) is None
    assert [margin(name, answer_margin=9.0) for name in ("extract-v1", "tuned-sentences-v1")] == [9.0, 9.0]


def test_a_reader_is_part_of_a_run_where_it_reads_and_nowhere_else(read, data):
    settings, index, calibrate = read
    plain = run_identity(serving_over(data[0], index), "q", generate=False)
    assert not {"reader", "evidence"} & plain.keys()
    assert "reader" not in plain["settings"]
    calibrate(serving_over(settings, index).manifest)
    reading = run_identity(serving_over(settings, index), "q", generate=False)
    assert reading["reader"] == weights_sha256(Path(settings.reader.model))
    assert reading["rerank_threshold"] == 2.0
    assert reading["evidence"]["weights"] == (0.5, 1.0)
    assert reading["settings"]["reader"]["depth"] == 3
    differing = ("reader", "evidence", "settings", "rerank_threshold")
    assert {k: v for k, v in plain.items() if k not in differing} == {
        k: v for k, v in reading.items() if k not in differing
    }
    assert list(plain) == [key for key in reading if key not in ("reader", "evidence")]


def test_the_settings_become_a_reader_in_the_pipeline_and_in_the_chat(read):
    settings, index, _ = read
    chosen = settings.reader.model_copy(update={"depth": 2, "answer_margin": 9.0})
    serving = serving_over(settings.model_copy(update={"reader": chosen}), index)
    shelf = Retrievers(serving.settings, index)
    for reading in (
        make_pipeline(serving, interactive=True).reading,
        make_chat(serving, lambda: shelf, lambda *chosen: None).reading,
    ):
        assert (reading.depth, reading.answer_margin, reading.reader.loaded) == (2, 9.0, False)
    ((span,),) = reading.reader.get().read(["who"], [[PASSAGES[0]]])
    assert span.margin == span.score - span.null
    off = settings.model_copy(update={"reader": settings.reader.model_copy(update={"enabled": False})})
    assert make_pipeline(serving_over(off, index), interactive=True).reading is None
    with pytest.raises(ConfigError, match=r"--set reader\.enabled=true"):
        serving_over(off, index).load_reader()


def test_how_documents_and_web_pages_are_followed_is_no_part_of_a_run(read, data):
    _, index, _ = read
    chosen = data[0]
    other = chosen.model_copy(
        update={
            "documents": chosen.documents.model_copy(update={"watch_seconds": 60.0}),
            "web": chosen.web.model_copy(update={"max_pages": 1}),
        }
    )
    runs = [run_identity(serving_over(settings, index), "q", generate=False) for settings in (chosen, other)]
    assert runs[0] == runs[1]
    assert "web" not in runs[0]["settings"]


def test_runs_from_before_there_were_hops_go_on():
    assert "hops" not in retriever_record(load_settings())
    assert retriever_record(load_settings(None, ["retriever.hops=2"]))["hops"] == 2
