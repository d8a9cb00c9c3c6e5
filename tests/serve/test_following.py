"""A running chat searches what the index holds now, whoever changed it."""

import time
from types import SimpleNamespace

import pytest

from rag.build.indexes import ingest_documents
from rag.build.retrievers import Retrievers
from rag.errors import DataError
from rag.index.folder import roll_back
from rag.lazy import Lazy
from rag.serve.shelf import Shelf
from tests.fakes.documents import SETTINGS


@pytest.fixture
def served(tmp_path, encoder):
    """(the folder, its index, a shelf over that, a chat)."""
    folder, index = tmp_path / "manuals", tmp_path / "index"
    folder.mkdir()
    (folder / "a.txt").write_text("The harbour opens at six.", "utf-8")
    ingest_documents(SETTINGS, [folder], index)
    shelf = Shelf(
        index,
        open_retrievers=lambda loaded: Retrievers(SETTINGS, index, loaded or Lazy(lambda: encoder)),
        add_files=lambda paths: ingest_documents(SETTINGS, paths, index),
        attachments=None,
    )
    return folder, index, shelf, SimpleNamespace(retrievers=shelf.retrievers.each())


def found(chat, kind="hybrid"):
    return {hit.passage.text for hit in chat.retrievers[kind].get().retrieve(["harbour"], 10)[0]}


def test_another_generation_is_searched_once_it_serves(served):
    folder, index, shelf, chat = served
    assert found(chat) == {"The harbour opens at six."}
    assert shelf.follow(chat) is False
    for n in range(3):  # the generation that was open is deleted on the way
        (folder / f"{n}.txt").write_text(f"The harbour has rule {n}.", "utf-8")
        ingest_documents(SETTINGS, [], index)
    assert shelf.follow(chat) is True
    assert len(found(chat)) == 4
    assert sum(map(len, shelf.retrievers.collections().values())) == 4
    assert shelf.follow(chat) is False
    roll_back(index)
    assert shelf.follow(chat) is True
    assert len(found(chat, "bm25")) == 3


def test_a_chat_over_an_index_without_documents_says_so_until_there_are_some(served):
    folder, index, shelf, chat = served
    found(chat)
    ingest_documents(SETTINGS, [], index, forget=[folder / "a.txt"])
    assert shelf.follow(chat) is True
    with pytest.raises(DataError, match="holds no documents; add some"):
        found(chat)
    (folder / "b.txt").write_text("The harbour closes at ten.", "utf-8")
    ingest_documents(SETTINGS, [], index)
    assert shelf.follow(chat) is True
    assert found(chat) == {"The harbour closes at ten."}


def test_the_thread_follows_and_survives_what_it_cannot_open(served, caplog):
    folder, index, shelf, chat = served
    opened = shelf._open_retrievers
    shelf._open_retrievers = lambda loaded: opened(loaded) if folder.joinpath("go").exists() else 1 / 0
    (folder / "b.txt").write_text("The harbour closes at ten.", "utf-8")
    ingest_documents(SETTINGS, [], index)

    def n_warnings():
        return sum("cannot be opened" in record.getMessage() for record in caplog.records)

    stop = shelf.keep_following(chat, 0.01)
    end = time.monotonic() + 30
    while not n_warnings() and time.monotonic() < end:
        time.sleep(0.01)
    (folder / "go").touch()
    while len(found(chat)) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    stop.set()
    assert len(found(chat)) == 2
    assert n_warnings() == 1
