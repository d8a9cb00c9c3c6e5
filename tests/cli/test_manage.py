"""The commands about all indexes, and the index that commands take where none is named."""

import json

import pytest
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import DataError, RagError
from rag.serve import nearby_client
from rag.serve.nearby_note import leave_note, new_note
from tests.fakes.tiny import write_corpus


@pytest.fixture
def run(tmp_path, monkeypatch, encoder):
    """Calls a command in a folder with a corpus and a folder of documents, below a home of its own."""
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAG_INDEX", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "ferry.txt").write_text("The ferry to Tern Island leaves at noon.", "utf-8")

    def call(*arguments, **more):
        return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False, **more)

    return call


def test_an_index_that_is_made_is_listed_and_meant(run, tmp_path, passages):
    assert run("list").output == "no index is known yet; make one: rag ingest FOLDER -i my.index\n"
    assert run("ingest", "docs", "-i", "one").exit_code == 0
    run("index", write_corpus(tmp_path / "corpus.txt", passages), "-o", "two")
    _, two, one = run("list").output.splitlines()
    assert two.split()[:4] == ["*", str(tmp_path / "two"), "corpus", str(len(passages))]
    assert one.split()[:3] == [str(tmp_path / "one"), "1", "1"]
    listed = json.loads(run("list", "--json").output)
    assert [(row["n_documents"], row["default"]) for row in listed] == [(0, True), (1, False)]
    assert "two is sound" in run("doctor").output
    assert "one is sound" in run("doctor", env={"RAG_INDEX": "one"}).output


def test_documents_are_never_added_to_an_index_that_was_not_named(run):
    run("ingest", "docs", "-i", "one")
    result = run("ingest", "docs")
    assert result.exit_code == 2
    assert "name the index to add to" in result.output
    assert run("ingest", "docs", env={"RAG_INDEX": "two"}).exit_code == 0
    assert "0 added, 1 kept" in run("ingest", env={"RAG_INDEX": "one"}).output


def test_a_command_that_needs_an_index_says_so_where_none_is_known(run):
    result = run("doctor")
    assert result.exit_code == 2
    assert "none is known; make one" in result.output


def test_the_status_says_what_is_there_and_what_to_do_next(run, tmp_path):
    assert "add documents: rag ingest FOLDER -i my.index" in run("status").output
    run("ingest", "docs", "-i", "one")
    shown = run("status", "--set", "reader.enabled=false").output
    assert "one (the only index here)" in shown
    assert "1 passage of 1 document (1 text)" in shown
    assert "none runs" in shown
    assert "rag ask 'your question' -i one" in shown
    assert "reader" not in shown
    (tmp_path / "one" / "CURRENT").write_text("generation-lost")
    damaged = run("status", "one")
    assert damaged.exit_code == 1
    assert "rag rollback one" in damaged.output


def test_a_chat_that_runs_is_shown_without_its_secret_and_keeps_its_index(run, monkeypatch):
    run("ingest", "docs", "-i", "one")
    leave_note(new_note("one", "http://127.0.0.1:7861/", 1, "geheim", "0"))
    monkeypatch.setattr(nearby_client, "is_running", lambda note: True)
    assert "http://127.0.0.1:7861/ over " in run("status").output
    told = run("status", "--json").output
    assert json.loads(told)["chats"][0]["address"] == "http://127.0.0.1:7861/"
    assert "geheim" not in told
    with pytest.raises(RagError, match="a chat runs over one"):
        run("rm", "one", "--yes")


def test_removing_asks_first_and_takes_no_other_folder(run, tmp_path):
    run("ingest", "docs", "-i", "one")
    with pytest.raises(RagError, match="nobody can be asked here"):
        run("rm", "one")
    with pytest.raises(DataError, match="docs is no index"):
        run("rm", "docs", "--yes")
    assert run("rm", "one", "--yes").output == "one is removed\n"
    assert not (tmp_path / "one").exists()
    assert run("list").output.startswith("no index is known")
    assert (tmp_path / "docs" / "ferry.txt").exists()
