"""What an index follows: roots in one another, what is forgotten, drives that are not there, the last document."""

import json
import os
import shlex

import pytest
from typer.testing import CliRunner

from rag.build.indexes import examine_index, ingest_documents, rebuild_index
from rag.build.retrievers import Retrievers
from rag.cli.main import app
from rag.config import load_settings
from rag.errors import DataError, UnreadableFile
from rag.index import follow
from rag.index.audit import audit
from rag.index.folder import roll_back
from rag.index.read import open_index, read_documents, read_sources
from tests.fakes.documents import SETTINGS, texts


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "manuals"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("The harbour opens at six.", "utf-8")
    (root / "sub" / "b.txt").write_text("The harbour closes at ten.", "utf-8")
    return root


@pytest.fixture
def index(tmp_path):
    return tmp_path / "index"


A, B = "The harbour opens at six.", "The harbour closes at ten."


def rag(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--set", "documents.chunk_tokens=40"])


def named_command(message):
    """The `rag ingest …` that a message ends with, as arguments."""
    return shlex.split(message[message.rindex("rag ingest") :])[1:]


def test_a_folder_named_twice_and_within_another_is_read_once(folder, index, encoder):
    link = folder.with_name("link")
    link.symlink_to(folder)
    result = ingest_documents(SETTINGS, [folder, folder, link, folder / "sub", folder / "a.txt"], index)
    assert texts(index) == [B, A]
    assert [len(document.paths) for document in result.documents] == [1, 1]


def test_an_index_does_not_take_itself_in(folder, index, encoder, monkeypatch):
    inner = folder / "my.index"
    (inner / "web").mkdir(parents=True)  # as a first run leaves it that was killed
    (inner / "web" / "page.html").write_text("<p>The harbour of a page.</p>", "utf-8")
    (inner / ".lock").touch()
    for _ in range(2):
        assert ingest_documents(SETTINGS, [folder], inner).left_out == {}
        assert texts(inner) == [B, A]
    monkeypatch.chdir(folder)
    for path in ("my.index", "my.index/web/page.html", inner / "documents"):
        with pytest.raises(DataError, match="lies in the index"):
            ingest_documents(SETTINGS, [path], "my.index")
    assert texts(inner) == [B, A]


def test_forgetting_a_folder_forgets_what_was_named_within_it(folder, index, encoder):
    other = folder.with_name("c.txt")
    other.write_text("The harbour master is Clara.", "utf-8")
    ingest_documents(SETTINGS, [folder / "sub", folder, other], index)
    ingest_documents(SETTINGS, [], index, forget=[folder])
    assert read_sources(open_index(index).folder) == {"roots": [str(other)], "forgotten": []}
    ingest_documents(SETTINGS, [folder / "sub"], index)
    ingest_documents(SETTINGS, [], index, forget=[folder])  # above what is followed
    ingest_documents(SETTINGS, [], index)
    assert texts(index) == ["The harbour master is Clara."]


def test_a_file_named_within_a_forgotten_folder_is_taken_again(folder, index, encoder):
    ingest_documents(SETTINGS, [folder], index)
    (folder / "sub" / "c.txt").write_text("The harbour cat is Graz.", "utf-8")
    ingest_documents(SETTINGS, [], index, forget=[folder / "sub"])
    assert texts(index) == [A]
    ingest_documents(SETTINGS, [folder / "sub" / "b.txt"], index)
    assert texts(index) == [B, A]
    ingest_documents(SETTINGS, [], index, forget=[folder / "sub"])
    assert texts(index) == [A]


def test_what_is_not_followed_cannot_be_forgotten_and_the_index_stays(folder, index, encoder):
    ingest_documents(SETTINGS, [folder], index)
    with pytest.raises(DataError, match=r"elsewhere is not followed by .*index; it follows .*manuals"):
        ingest_documents(SETTINGS, [], index, forget=[folder.with_name("elsewhere")])
    assert texts(index) == [B, A]


def test_a_link_in_a_circle_among_the_names_stops_nothing(folder, index, encoder):
    loop = folder.with_name("loop")
    loop.symlink_to("loop")
    result = rag("ingest", loop, folder, "-i", index)
    assert result.exit_code == 3
    assert f"left out: {loop}: a link in a circle" in result.output
    assert texts(index) == [B, A]
    assert rag("ingest", "-i", index).exit_code == 0  # what can never be read is not followed
    with pytest.raises(DataError, match=r"nothing to read in .*loop.*: a link in a circle\)"):
        ingest_documents(SETTINGS, [loop], index.with_name("new"))


def test_names_that_are_no_text_pass_through_the_command(folder, index, encoder):
    (folder / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"The harbour cafe is shut.")
    (folder / os.fsdecode(b"bad\xe9.pdf")).write_bytes(b"%PDF-1.4 and then nothing")
    result = rag("ingest", folder, "-i", index)
    assert result.exit_code == 3
    assert "bad?.pdf: damaged" in result.output
    shown = json.loads(rag("ingest", "-i", index, "--json").stdout)
    paths = {place["path"] for document in shown["documents"] for place in document["paths"]}
    assert os.fsdecode(b"caf\xe9.txt") in paths
    assert any(passage.source == "manuals/caf?.txt" for passage in open_index(index).corpus)


def test_the_last_documents_are_taken_out_by_the_command_that_the_message_names(folder, index, encoder):
    ingest_documents(SETTINGS, [folder], index)
    (folder / "a.txt").unlink()
    (folder / "sub" / "b.txt").unlink()
    refused = rag("ingest", "-i", index)
    assert isinstance(refused.exception, DataError)
    assert texts(index) == [B, A]  # a drive that is not there looks the same
    done = rag(*named_command(str(refused.exception)))
    assert done.exit_code == 0, done.output
    assert "0 documents (none is left), 0 passages" in done.output
    assert "holds no documents; add some: rag ingest PATH -i" in done.output
    with pytest.raises(DataError, match="follows nothing; name files or folders"):
        ingest_documents(SETTINGS, [], index)
    (folder / "c.txt").write_text("The harbour cat is Graz.", "utf-8")
    ingest_documents(SETTINGS, [folder], index)
    assert texts(index) == ["The harbour cat is Graz."]


@pytest.mark.parametrize("windows", [0, 2])
def test_an_index_without_documents_says_so_and_can_be_gone_back_from(folder, index, encoder, windows):
    settings = load_settings(None, ["documents.chunk_tokens=40", f"index.window_sentences={windows}"])
    (folder / "a.txt").write_text("The harbour opens at six. It closes at ten. It is small.", "utf-8")
    ingest_documents(settings, [folder], index)
    before = [passage.text for passage in open_index(index).corpus]
    for path in (folder / "a.txt", folder / "sub" / "b.txt"):
        result = ingest_documents(settings, [], index, forget=[path])
    assert (result.n_passages, result.documents) == (0, [])
    for kind in ("bm25", "dense", "hybrid"):
        with pytest.raises(DataError, match="holds no documents; add some: rag ingest PATH -i"):
            Retrievers(settings, index).get(kind)
    assert audit(index) == []
    assert [finding.severity for finding in examine_index(settings, index)] == ["waste"]
    rebuild_index(settings, index)
    assert ingest_documents(settings, [], index).n_passages == 0  # what it follows is known after all that
    (folder / "new.txt").write_text("The harbour cat is Graz.", "utf-8")
    assert ingest_documents(settings, [], index).n_passages == 1
    ingest_documents(settings, [], index, forget=[folder / "new.txt"])
    roll_back(index)
    assert [passage.text for passage in open_index(index).corpus] == ["The harbour cat is Graz."]
    roll_back(index)
    assert len(open_index(index).corpus) == 0
    assert len(before) == 2


def test_questions_to_an_index_without_documents_get_the_sentence(folder, index, encoder):
    ingest_documents(SETTINGS, [folder], index)
    ingest_documents(SETTINGS, [], index, forget=[folder])
    for command in (["search", "harbour"], ["ask", "When does the harbour open?"]):
        asked = rag(*command, "-i", index, "--set", "retriever.kind=bm25", "--set", "reranker.enabled=false")
        assert asked.exit_code == 1
        assert "holds no documents; add some: rag ingest PATH -i" in str(asked.exception)


def test_forgetting_one_file_does_not_lose_others_that_cannot_be_read_any_more(folder, index, encoder, monkeypatch):
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    ingest_documents(SETTINGS, [folder], index)
    result = ingest_documents(SETTINGS, [], index, forget=[folder / "a.txt", folder / "sub"])
    assert (result.n_passages, len(result.left_out)) == (0, 1)  # bad.pdf never was a document
    ingest_documents(SETTINGS, [folder / "a.txt", folder / "sub"], index)
    for text in (index / "documents").iterdir():
        text.unlink()
    monkeypatch.setattr("rag.documents.parsed.PARSER_VERSION", 99)

    def parse(*given):
        raise UnreadableFile("cannot be read any more")

    monkeypatch.setattr("rag.index.ingest.ParserProcess.parse", parse)
    with pytest.raises(DataError, match="none of 2 files can be read"):
        ingest_documents(SETTINGS, [], index, forget=[folder / "sub"])
    assert len(open_index(index).corpus) == 2


def test_one_of_two_folders_that_is_gone_empty_or_closed_takes_nothing_away(folder, index, encoder, monkeypatch):
    other = folder.with_name("letters")
    other.mkdir()
    (other / "c.txt").write_text("The harbour master is Clara.", "utf-8")
    ingest_documents(SETTINGS, [folder, other], index)
    moved = other.rename(other.with_name("moved"))
    with pytest.raises(DataError, match=r"letters was ingested before and is gone; .*--forget"):
        ingest_documents(SETTINGS, [], index)
    other.mkdir()
    with pytest.raises(DataError, match=r"nothing to read in .*letters, which held documents before"):
        ingest_documents(SETTINGS, [], index)
    (other / ".hidden").touch()  # an empty folder to the eye
    with pytest.raises(DataError, match=r"nothing to read in .*letters, which held documents before"):
        ingest_documents(SETTINGS, [], index)
    (other / ".hidden").unlink()
    other.rmdir()
    other.symlink_to("letters")
    with pytest.raises(DataError, match=r"letters was ingested before and is now a link in a circle"):
        ingest_documents(SETTINGS, [], index)
    other.unlink()
    moved.rename(other)
    listing = os.scandir

    def scandir(path):
        if str(path).endswith("letters"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(follow.os, "scandir", scandir)
    with pytest.raises(DataError, match=r"letters was ingested before and cannot be listed: Permission denied"):
        ingest_documents(SETTINGS, [], index)
    monkeypatch.undo()
    assert len(read_documents(open_index(index).folder)) == 3


def test_an_address_of_another_kind_is_told_what_is_read(folder, encoder, tmp_path):
    with pytest.raises(DataError, match="begins with https:// or http://"):
        ingest_documents(SETTINGS, ["ftp://files.example/a.txt"], tmp_path / "index")
