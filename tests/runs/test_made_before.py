"""Runs, calibrations and configuration files that version 0.1.0 made go on: tests/fixtures/made_by_0_1/course."""

import json
import shutil
from pathlib import Path

import pytest

from rag.build.identity import prompt_of_run
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.evidence import EvidenceThreshold
from rag.index.calibration import CALIBRATION_FILE
from rag.lazy import Lazy
from rag.models.promoted import all_promoted, what_serves
from rag.runs.evaluate import make_evaluation, make_report
from rag.runs.stored import PREDICTIONS, RUN_FILE

UNTUNED = "reranker.model=cross-encoder/ms-marco-MiniLM-L-12-v2"
"""The reranker that was the default then."""
MADE = Path(__file__).parents[1] / "fixtures" / "made_by_0_1" / "course"


@pytest.fixture
def folder(tmp_path):
    """A copy of what was made, with the paths in it as if it had been made there."""
    copy = tmp_path / "made"
    shutil.copytree(MADE, copy)
    for path in copy.rglob("*.json"):
        path.write_text(path.read_text("utf-8").replace("FOLDER", str(copy)), "utf-8")
    return copy


def test_a_run_is_scored_and_reported(folder):
    scorer = Lazy(lambda: pytest.fail("nothing is answered"))
    questions = folder / "questions.txt"
    metrics = make_evaluation(
        folder / "run", folder / "qrels.txt", questions, scorer, scorer_name="", allow_unknown=False
    )
    assert metrics["stages"]["rerank"]["mrr@10"] == 1.0
    assert [path.is_file() for path in make_report([folder / "run"], folder / "report.html")] == [True] * 3


def test_settings_recorded_in_the_old_layout_are_read(folder, capsys):
    record = json.loads((folder / "run" / RUN_FILE).read_text("utf-8"))
    assert record["settings"]["training"]["learning_rate"] == 4e-5
    assert prompt_of_run(record) is not None
    assert capsys.readouterr().err == ""  # nobody can rename what stands there


def test_a_calibration_applies_to_its_index_and_reranker(folder, capsys):
    settings = load_settings(folder / "old.toml", [UNTUNED])
    assert serving_over(settings, folder / "index").rerank_threshold == pytest.approx(0.98968599411)
    # The reranker that is the default since has scores of its own, and a calibration of its own.
    now = load_settings(folder / "old.toml")
    assert isinstance(serving_over(now, folder / "index").rerank_threshold, EvidenceThreshold)
    assert "was calibrated with another reranker (cross-encoder/ms-marco-MiniLM-L-12-v2)" in capsys.readouterr().err
    (folder / "index" / CALIBRATION_FILE).unlink()
    # The one that ships with the span reader takes its place; where none reads, it is as it was.
    assert isinstance(serving_over(settings, folder / "index").rerank_threshold, EvidenceThreshold)
    silent = load_settings(folder / "old.toml", [UNTUNED, "reader.enabled=false"])
    assert serving_over(silent, folder / "index").rerank_threshold == -1.0


def test_a_promoted_model_serves(tmp_path, monkeypatch, tiny_reranker_folder):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    (tmp_path / "promoted.json").write_text(f'{{\n  "a/base": [\n    "{tiny_reranker_folder}"\n  ]\n}}\n', "utf-8")
    assert all_promoted() == {"a/base": [str(tiny_reranker_folder)]}
    assert what_serves("a/base") == str(tiny_reranker_folder)


@pytest.mark.real
def test_a_run_goes_on_with_the_same_command_and_the_reranker_of_then(folder):
    from typer.testing import CliRunner

    from rag.cli.main import app

    (folder / "index" / CALIBRATION_FILE).unlink()  # made after the run, whose threshold it would change
    run, before = folder / "run", (folder / "run" / PREDICTIONS).read_bytes()
    (run / PREDICTIONS).write_bytes(before[: before.index(b"\n") + 5])  # as a kill leaves it
    command = ["batch", str(folder / "questions.txt"), "-i", str(folder / "index"), "-o", str(run), "--no-generate"]
    result = CliRunner().invoke(app, [*command, "--config", str(folder / "old.toml")], catch_exceptions=False)
    assert "3 predictions" in result.stdout
    assert (run / PREDICTIONS).read_bytes() == before
