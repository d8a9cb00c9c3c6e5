"""The command's own duties: mistakes become one sentence, and nothing heavy is loaded for them."""

import shutil
import subprocess
import sys

import pytest

from rag.cli import main
from tests.conftest import write_corpus


def rag(*arguments):
    command = [sys.executable, "-m", "rag.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("command", ["ask", "search"])
def test_an_empty_question_is_refused(tmp_path, command):
    result = rag(command, "  ", "-i", tmp_path)
    assert result.returncode == 2
    assert "the question is empty" in result.stderr


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = tmp_path / "run"
    run.mkdir()
    (run / "predictions.jsonl").write_text("{}\n")
    (run / "metrics.json").write_text("{}")
    result = rag("report", run, "-o", tmp_path / "file" / "report.html")
    assert result.returncode == 1
    assert result.stderr.startswith("rag: ")
    assert result.stderr.count("\n") == 1


def test_weights_that_were_cut_off_are_one_sentence(tmp_path, tiny_encoder_folder, passages, monkeypatch, capsys):
    model = shutil.copytree(tiny_encoder_folder, tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    corpus = write_corpus(tmp_path / "corpus.txt", passages)
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    command = ["rag", "index", corpus, "-o", tmp_path / "index", "--set", f"encoder.model={model}"]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert f"rag: the weights in {model} cannot be read" in capsys.readouterr().err
