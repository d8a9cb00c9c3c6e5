"""An index is deleted; nothing else is."""

import pytest

from rag.errors import DataError, IndexBusyError
from rag.index.delete import delete_index
from rag.index.folder import writer_lock
from rag.index.write import build_index
from tests.fakes.documents import WordEncoder
from tests.fakes.tiny import write_corpus


@pytest.fixture
def index(tmp_path, passages):
    folder = tmp_path / "my.index"
    build_index(write_corpus(tmp_path / "corpus.txt", passages), folder, WordEncoder())
    return folder


def test_an_index_goes_with_its_folder(index):
    for name in ("calibration-run-1", "calibration-questions-2", "web", "documents"):
        (index / name).mkdir()
    (index / "documents" / f"{'a' * 64}.json").touch()
    (index / "calibration.json").write_text("{}")
    assert delete_index(index) == []
    assert not index.exists()
    assert (index.parent / "corpus.txt").exists()


def test_what_others_put_into_its_folder_stays(index):
    (index / "notes.txt").write_text("mine")
    (index / "documents").mkdir()
    (index / "documents" / "thesis.json").write_text("mine")
    assert delete_index(index) == ["documents", "notes.txt"]
    assert (index / "documents" / "thesis.json").read_text() == "mine"
    with pytest.raises(DataError, match="is no index, and stays as it is"):
        delete_index(index)
    assert (index / "notes.txt").read_text() == "mine"


def test_no_other_folder_is_deleted(tmp_path, index):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "calibration.json").write_text("{}")
    (tmp_path / "link").symlink_to(index)
    for name, reason in (("papers", "is no index"), ("nowhere", "does not exist"), ("link", "is a link")):
        with pytest.raises(DataError, match=reason):
            delete_index(tmp_path / name)
    with pytest.raises(DataError, match="is no index"):
        delete_index(tmp_path / "corpus.txt")
    assert (tmp_path / "papers" / "calibration.json").exists()
    assert (index / "CURRENT").exists()


def test_an_index_that_is_being_written_stays(index):
    with writer_lock(index), pytest.raises(IndexBusyError):
        delete_index(index)
    assert (index / "CURRENT").exists()


def test_links_in_it_are_not_followed(tmp_path, index):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / f"{'a' * 64}.json").write_text("mine")
    (index / "documents").symlink_to(tmp_path / "papers")
    (index / "web").symlink_to(tmp_path / "papers")
    assert delete_index(index) == ["documents"]
    assert [path.name for path in (tmp_path / "papers").iterdir()] == [f"{'a' * 64}.json"]
