"""Everything of a person is deleted for good, over all indexes, and nothing of anybody else."""

from typer.testing import CliRunner

from rag.cli.main import app
from rag.serve.erasing import erase_person, files_folder
from rag.serve.history import History, history_path
from tests.fakes.conversations import turn

ADAS, EVES = "ab" * 16, "cd" * 16


def filled(home, name):
    """A store with two conversations of Ada's, one of them deleted, and one of Eve's, each with files."""
    history = History(history_path(home, home / name))
    history.keep("ada", "", [turn("one")], ADAS)
    history.discard("ada", history.keep("ada", "", [turn("two")]))
    history.keep("eve", "", [turn("three")], EVES)
    for key in (ADAS, EVES):
        (files_folder(history.path) / key / "files").mkdir(parents=True)
    return history


def test_a_person_is_erased_from_every_index(tmp_path):
    stores = [filled(tmp_path, name) for name in ("a.index", "b.index")]
    assert erase_person(tmp_path, "ada") == 4
    for history in stores:
        assert history.find("ada") == history.find("ada", deleted=True) == []
        assert len(history.find("eve")) == 1
        assert [path.name for path in files_folder(history.path).iterdir()] == [EVES]
    assert erase_person(tmp_path, "ada") == 0
    assert erase_person(tmp_path / "nowhere", "ada") == 0


def test_a_damaged_key_of_files_leads_nowhere_else(tmp_path):
    history = History(history_path(tmp_path, tmp_path / "a.index"))
    history.keep("ada", "", [turn("one")], "../../precious")
    (tmp_path / "precious").mkdir()
    files_folder(history.path).mkdir()
    assert erase_person(tmp_path, "ada") == 1
    assert (tmp_path / "precious").is_dir()


def test_the_command_says_how_many_it_deleted(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    history = filled(tmp_path, "a.index")
    result = CliRunner().invoke(app, ["user", "erase", "ada"])
    assert (result.exit_code, result.stdout) == (0, "2 conversations of ada deleted for good\n")
    assert history.find("ada") == []
    assert CliRunner().invoke(app, ["user", "erase", ""]).exit_code == 2
