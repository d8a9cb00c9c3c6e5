"""Which indexes are known, and which one is meant where none is named."""

import json
import os
import stat
from pathlib import Path

import pytest

from rag.index.known import chosen_index, forget_index, known_folder, known_indexes, note_index, sample_folder
from rag.index.write import build_index
from tests.fakes.documents import WordEncoder
from tests.fakes.tiny import write_corpus


@pytest.fixture
def make(tmp_path, passages, monkeypatch):
    """Makes a small index in a folder, below a home of its own."""
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAG_INDEX", raising=False)
    corpus = write_corpus(tmp_path / "corpus.txt", passages)

    def make_one(folder):
        build_index(corpus, folder, WordEncoder())
        return Path(folder)

    return make_one


def test_without_an_index_none_is_meant(make):
    assert (known_indexes(), chosen_index()) == ([], None)


def test_the_one_made_last_is_meant_and_a_chat_changes_nothing(make, tmp_path):
    old, new = make(tmp_path / "old"), make(tmp_path / "new")
    note_index(old, made=True)
    assert (chosen_index().folder, chosen_index().others) == (old, 0)
    note_index(new, made=True)
    note_index(old, made=False)
    assert [known.folder for known in known_indexes()] == [new, old]
    assert (chosen_index().folder, chosen_index().others) == (new, 1)
    note_index(old, made=True)
    assert chosen_index().folder == old


def test_a_chat_makes_an_index_known(make, tmp_path):
    note_index(make(tmp_path / "one"), made=False)
    assert chosen_index().folder == tmp_path / "one"


def test_the_variable_wins_and_the_folder_below_is_named_as_it_would_be_typed(make, tmp_path, monkeypatch):
    note_index(make(tmp_path / "one"), made=True)
    monkeypatch.chdir(tmp_path)
    assert chosen_index().folder == Path("one")
    monkeypatch.setenv("RAG_INDEX", "elsewhere")
    assert (chosen_index().folder, chosen_index().why) == (Path("elsewhere"), "by RAG_INDEX")


def test_indexes_below_the_home_need_no_note_and_the_sample_is_never_meant(make):
    make(sample_folder())
    assert [known.folder for known in known_indexes()] == [sample_folder()]
    assert chosen_index() is None
    own = make(sample_folder().with_name("123"))
    assert chosen_index().folder == own


def test_what_is_gone_or_forgotten_or_damaged_is_not_known(make, tmp_path):
    one, other = make(tmp_path / "one"), make(tmp_path / "other")
    for folder in (one, other):
        note_index(folder, made=True)
    other.rename(tmp_path / "moved")
    assert [known.folder for known in known_indexes()] == [one]
    forget_index(one)
    assert known_indexes() == []
    (known_folder() / "indexes.json").write_text("{", "utf-8")
    assert known_indexes() == []
    note_index(one, made=True)
    assert [known.folder for known in known_indexes()] == [one]


def test_the_notes_are_for_their_owner_alone(make, tmp_path):
    note_index(make(tmp_path / "one"), made=True)
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (known_folder(), known_folder() / "indexes.json")]
    assert modes == [0o700, 0o600]
    assert list(json.loads((known_folder() / "indexes.json").read_text())["indexes"]) == [str(tmp_path / "one")]


def test_a_home_that_cannot_be_written_is_no_error(make, tmp_path):
    (tmp_path / "home").write_text("in the way")
    note_index(make(tmp_path / "one"), made=True)
    assert known_indexes() == []
