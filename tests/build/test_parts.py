"""Settings become components: what a running chat refuses by, what tells runs apart, which questions are scored."""

import json
import shutil

import pytest

from rag.build.identity import generator_identity
from rag.build.indexes import make_index
from rag.build.retrievers import Retrievers
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.files import json_line, write_json
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
