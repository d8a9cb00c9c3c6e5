"""The command's own duties: mistakes become one sentence, and nothing heavy is loaded for them."""

import importlib.metadata
import shutil
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rag.cli import stopping
from rag.cli.main import app, main
from rag.errors import DataError, IndexMismatchError
from rag.index.write import build_index
from rag.serve.history import History, history_path
from tests.fakes.conversations import turn as answered
from tests.fakes.documents import WordEncoder
from tests.fakes.tiny import write_corpus


def rag(*arguments):
    command = [sys.executable, "-m", "rag", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_version_is_that_of_the_installed_package():
    result = rag("--version")
    assert (result.returncode, result.stdout) == (0, f"rag {importlib.metadata.version('rag-qa')}\n")
    code = "import sys, rag; assert 'importlib.metadata' not in sys.modules; print(rag.__version__)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout == result.stdout.removeprefix("rag ")


def test_the_help_shows_the_commands_by_what_they_are_for():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    titles = ["Use", "Measure", "Train", "Manage"]
    places = [shown.index(f"─ {title} ─") for title in titles]
    assert places == sorted(places)
    assert shown.index("─ Train ─") < shown.index("feedback") < shown.index("─ Manage ─") < shown.index("rollback")


def commands(command, name=()):
    """Every command that can be called, by its words."""
    if not hasattr(command, "commands"):
        return {name: command}
    found = {}
    for own, inner in command.commands.items():
        found |= commands(inner, (*name, own))
    return found


@pytest.mark.parametrize("words", commands(get_command(app)), ids=" ".join)
def test_every_command_has_h_q_v_and_an_example_of_itself(words):
    shown = CliRunner().invoke(app, [*words, "-h"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    for option in ("-h", "-q", "-v"):
        assert f" {option} " in shown.output
    assert f"Example: rag {' '.join(words)}" in shown.output


def test_what_was_meant_is_asked():
    for arguments, meant in (
        (["ak", "x"], "Did you mean 'ask'"),
        (["ask", "x", "--indx", "y"], "--index"),
        (["train", "rerankr"], "Did you mean 'reranker'"),
    ):
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
        assert result.exit_code == 2
        assert meant in result.output


def test_q_is_heard_before_and_behind_the_command(tmp_path, passages, encoder, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAG_INDEX", raising=False)
    corpus = write_corpus(tmp_path / "corpus.txt", passages)
    CliRunner().invoke(app, ["index", str(corpus), "-o", str(tmp_path / "index")])
    for arguments, is_said in ((["doctor"], True), (["-q", "doctor"], False), (["doctor", "-q"], False)):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert ("the only index here" in result.stderr) is is_said


def test_v_shows_where_an_error_comes_from(tmp_path):
    assert "Traceback" not in rag("rollback", tmp_path / "none").stderr
    told = rag("rollback", tmp_path / "none", "-v").stderr
    assert "Traceback" in told
    assert told.splitlines()[-1].startswith("rag: ")


def test_the_help_loads_nothing_heavy():
    code = (
        "import sys, rag.cli.main; print(sorted({'torch', 'numpy', 'pydantic', 'faiss', 'gradio'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


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


def test_feedback_is_of_an_index_and_overwrites_nothing_else(tmp_path, passages, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    index, output = tmp_path / "index", tmp_path / "feedback.txt"
    command = ["feedback", "-i", str(index), "-o", str(output)]
    with pytest.raises(IndexMismatchError, match="holds no index; name the one"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert not output.exists()
    assert not (tmp_path / "home").exists()
    build_index(write_corpus(tmp_path / "corpus.txt", passages), index, WordEncoder())
    history = History(history_path(tmp_path / "home", index))
    for n_judged in (0, 1, 2):  # over a file of its own, the empty one too
        if n_judged:
            history.judge("", history.keep("", "", [answered("When?")]), 1, True)
        assert f"{n_judged} judged answers in {output}" in CliRunner().invoke(app, command).output
    write_corpus(tmp_path / "corpus.txt", passages[:3])  # whatever has become of the passages since
    assert "2 judged answers" in CliRunner().invoke(app, command).output
    with output.open("a", encoding="utf-8") as stream:
        stream.write('{"qid": "q1", "question": "Whose work is this?"}\n')
    with pytest.raises(DataError, match="holds something else than feedback; name another file with -o"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert "Whose work" in output.read_text()


def test_an_index_without_a_calibration_comes_with_the_command_that_makes_one(encoder, tmp_path, passages):
    folder = tmp_path / "index"
    corpus = write_corpus(tmp_path / "corpus.txt", passages)
    shown = CliRunner().invoke(app, ["index", str(corpus), "-o", str(folder)]).output.splitlines()
    assert shown[-1].endswith(f"rag calibrate --written -i {folder}")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "ferry.txt").write_text("The ferry to Tern Island leaves at noon.", "utf-8")
    command = ["ingest", str(tmp_path / "docs"), "-i", str(tmp_path / "own")]
    assert CliRunner().invoke(app, command).output.splitlines()[-1].endswith(f"--written -i {tmp_path / 'own'}")
    (tmp_path / "own" / "calibration.json").write_text("{}", "utf-8")
    assert "calibrate" not in CliRunner().invoke(app, command).output


def test_who_calls_the_command_as_a_function_goes_on_after_it(monkeypatch, capsys):
    stopping.all_is_said()
    monkeypatch.setattr(sys, "argv", ["rag", "--version"])
    try:
        with pytest.raises(SystemExit):
            main()
    finally:
        stopping._is_all_said.clear()
    assert capsys.readouterr().out.startswith("rag ")
