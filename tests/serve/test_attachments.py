"""Files of one conversation: found there and nowhere else, and gone with it."""

import os
import shutil
import time

import pytest

from rag.build.indexes import ingest_documents
from rag.build.retrievers import Retrievers
from rag.errors import DataError
from rag.lazy import Lazy
from rag.serve.attachments import OPEN_AT_ONCE
from rag.serve.source_pages import make_source_router, source_link
from rag.serve.sources import Sources
from rag.serve.start import make_attachments
from tests.fakes.documents import SETTINGS, WordEncoder

KEY, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def attachments(tmp_path, encoder):
    made = make_attachments(SETTINGS, tmp_path / ".files", lambda: encoder)
    yield made
    made.close()


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return folder / name


def texts(attachments, key, query, kind="hybrid"):
    return [hit.passage.text for hit in attachments.retriever(key, kind).retrieve([query], 10)[0]]


def test_files_are_found_in_their_conversation_alone(tmp_path, attachments):
    lines = attachments.add(KEY, [write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")])
    assert lines[0] == "this conversation: 1 document (1 text), 1 passage"
    attachments.add(OTHER, [write(tmp_path / "up", "dogs.txt", "Dogs are free.")])
    for kind in ("hybrid", "dense", "bm25"):
        assert texts(attachments, KEY, "ferry", kind) == ["The ferry sails daily."]
    assert texts(attachments, OTHER, "ferry") == ["Dogs are free."]
    assert [row["path"] for row in attachments.documents(KEY)] == ["ferry.txt"]
    assert attachments.documents("c" * 32) == []


def test_more_files_come_beside_the_first(tmp_path, attachments):
    attachments.add(KEY, [write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")])
    assert len(texts(attachments, KEY, "ferry")) == 1
    attachments.add(KEY, [write(tmp_path / "more", "ferry.txt", "The ferry to the island sails at noon.")])
    assert len(texts(attachments, KEY, "ferry")) == 2
    assert sorted(row["path"] for row in attachments.documents(KEY)) == ["ferry (1).txt", "ferry.txt"]


def test_what_cannot_be_read_is_told_and_leaves_nothing(tmp_path, attachments):
    empty = write(tmp_path / "up", "empty.txt", "")
    with pytest.raises(DataError, match="none of 1 files can be read"):
        attachments.add(KEY, [empty])
    assert not (tmp_path / ".files" / KEY).exists()
    attachments.add(KEY, [write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")])
    assert any("left out" in line for line in attachments.add(KEY, [empty]))
    assert [path.name for path in (tmp_path / ".files" / KEY / "files").iterdir()] == ["ferry.txt"]
    assert texts(attachments, KEY, "ferry") == ["The ferry sails daily."]


@pytest.mark.parametrize("key", ["", "../index", "A" * 32, "a" * 31, "a" * 33, f"{'a' * 31}/"])
def test_a_key_that_is_none_reaches_nothing(tmp_path, attachments, key):
    file = write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")
    attachments.drop(key)
    assert attachments.documents(key) == []
    assert attachments.sources(key) is None
    with pytest.raises(DataError):
        attachments.retriever(key, "bm25")
    with pytest.raises(DataError, match="no key"):
        attachments.add(key, [file])
    assert file.is_file()


def test_files_go_with_their_conversation_and_unkept_ones_after_a_day(tmp_path, attachments):
    for n, key in enumerate((KEY, OTHER, "c" * 32)):
        attachments.add(key, [write(tmp_path / "up", f"{n}.txt", f"The ferry {n} sails daily.")])
    attachments.drop(KEY)
    assert attachments.documents(KEY) == []
    with pytest.raises(DataError, match="are gone"):
        attachments.retriever(KEY, "bm25")
    yesterday = time.time() - 25 * 3600
    for key in (OTHER, "c" * 32):
        os.utime(tmp_path / ".files" / key, (yesterday, yesterday))
    attachments._kept = lambda: {OTHER}
    attachments.sweep()
    assert [folder.name for folder in (tmp_path / ".files").iterdir()] == [OTHER]
    attachments.documents(OTHER)  # used again: kept another day
    attachments._kept = set
    attachments.sweep()
    assert attachments.documents(OTHER)
    os.utime(tmp_path / ".files" / OTHER, (yesterday, yesterday))
    attachments.add(KEY, [tmp_path / "up" / "0.txt"])
    assert [folder.name for folder in (tmp_path / ".files").iterdir()] == [KEY]


def test_only_so_many_conversations_are_open_at_once(tmp_path, attachments):
    keys = [f"{n:032x}" for n in range(OPEN_AT_ONCE + 2)]
    attachments.add(keys[0], [write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")])
    for key in keys[1:]:
        (tmp_path / ".files" / key).symlink_to(tmp_path / ".files" / keys[0])
        assert texts(attachments, key, "ferry", "bm25")
    assert len(attachments._open) == OPEN_AT_ONCE
    assert texts(attachments, keys[0], "ferry", "bm25") == ["The ferry sails daily."]


def test_a_source_of_a_conversation_opens_for_whoever_knows_its_key(tmp_path, attachments, encoder):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    index = tmp_path / "index"
    ingest_documents(SETTINGS, [write(tmp_path / "all", "dogs.txt", "Dogs are free.")], index)
    attachments.add(KEY, [write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")])
    own = attachments.retriever(KEY, "bm25").retrieve(["ferry"], 1)[0][0].passage.id
    retrievers = Retrievers(SETTINGS, index, Lazy.of(encoder))
    everybodys = retrievers.get("bm25").retrieve(["dogs"], 1)[0][0].passage.id
    allowed = [True]
    app, sources = FastAPI(), Sources(index, retrievers.index.get)
    app.include_router(make_source_router(sources, lambda request: allowed[0], attachments.sources))
    client = TestClient(app)
    assert "The ferry sails" in client.get("/" + source_link(own, KEY)).text
    assert "Dogs are free" in client.get("/" + source_link(everybodys, KEY)).text
    for link in (source_link(own), source_link(own, OTHER), source_link(own, "x")):
        assert client.get("/" + link).status_code == 404
    allowed[0] = False
    assert client.get("/" + source_link(own, KEY)).status_code == 401


def test_a_promoted_encoder_takes_the_files_in_again(tmp_path, attachments, encoder):
    attachments.add(KEY, [write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")])
    attachments.close()
    promoted = WordEncoder("x" * 64)
    attachments = make_attachments(SETTINGS, tmp_path / ".files", lambda: promoted)
    assert texts(attachments, KEY, "ferry", "dense") == ["The ferry sails daily."]
    assert promoted.embedded == ["ferry\nThe ferry sails daily."]
    attachments.close()


def test_a_factory_for_many_passages_is_no_matter(tmp_path, encoder):
    settings = SETTINGS.model_copy(update={"index": SETTINGS.index.model_copy(update={"factory": "IVF1024,Flat"})})
    attachments = make_attachments(settings, tmp_path / ".files", lambda: encoder)
    attachments.add(KEY, [write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")])
    assert texts(attachments, KEY, "ferry") == ["The ferry sails daily."]
    attachments.close()


def test_they_are_not_taken_in_with_the_folder_around_them(tmp_path, attachments, encoder):
    attachments.add(KEY, [write(tmp_path / "up", "ferry.txt", "The ferry sails daily.")])
    shutil.rmtree(tmp_path / "up")
    write(tmp_path, "dogs.txt", "Dogs are free.")
    result = ingest_documents(SETTINGS, [tmp_path], tmp_path / "index")
    assert [document.title for document in result.documents] == ["dogs"]
    assert result.n_passages == 1
