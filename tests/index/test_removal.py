"""A document is taken out of an index as a whole, or not at all."""

import pytest

from rag.build.indexes import add_files, ingest_documents, remove_from_index
from rag.errors import DataError
from rag.index import removal
from rag.index.folder import serving_manifest
from rag.index.ingest import uploads_folder
from rag.index.read import read_documents
from rag.index.removal import remove_document
from tests.fakes.documents import SETTINGS


@pytest.fixture
def added(tmp_path, encoder):
    """(the index, its folder of uploads, the hash of the one document in it)."""
    folder, index, file = tmp_path / "manuals", tmp_path / "index", tmp_path / "ferry.txt"
    folder.mkdir()
    (folder / "harbour.txt").write_text("The harbour opens at six.", "utf-8")
    ingest_documents(SETTINGS, [folder], index)
    file.write_text("The ferry sails at noon.", "utf-8")
    add_files(SETTINGS, [file], index, uploads_folder(index))
    (row,) = [row for row in documents(index) if row["paths"][0]["root"] == str(uploads_folder(index))]
    return index, uploads_folder(index), row["sha256"]


def documents(index):
    return read_documents(serving_manifest(index)[0])


def test_where_the_index_cannot_be_made_again_the_copy_keeps_its_name(added, monkeypatch):
    index, uploads, sha256 = added

    def failing(*args, **options):
        assert [path.name for path in uploads.iterdir()] == [".ferry.txt.removed"]
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(removal, "ingest", failing)
        with pytest.raises(OSError, match="No space"):
            remove_from_index(SETTINGS, sha256, index, uploads)
    assert [path.name for path in uploads.iterdir()] == ["ferry.txt"]
    assert len(documents(index)) == 2
    remove_from_index(SETTINGS, sha256, index, uploads)
    assert list(uploads.iterdir()) == []
    assert len(documents(index)) == 1


def test_a_document_that_is_not_there_and_a_copy_that_is_gone_are_no_trouble(added):
    index, uploads, sha256 = added
    with pytest.raises(DataError, match="holds no document"):
        remove_from_index(SETTINGS, "0" * 64, index, uploads)
    (uploads / "ferry.txt").unlink()
    assert remove_from_index(SETTINGS, sha256, index, uploads).removed == 1
    assert len(documents(index)) == 1


def test_a_page_above_others_is_not_left_out_alone(tmp_path, monkeypatch):
    def page(sha256, address):
        return {"sha256": sha256, "paths": [{"root": "https://docs.example", "path": "x.html", "address": address}]}

    rows = [page("a", "https://docs.example/guide/"), page("b", "https://docs.example/guide/start")]
    forgotten = []
    monkeypatch.setattr(removal, "serving_manifest", lambda folder: (folder, None))
    monkeypatch.setattr(removal, "read_documents", lambda generation: rows)
    monkeypatch.setattr(removal, "ingest", lambda *args, forget, **options: forgotten.append(forget))
    with pytest.raises(DataError, match=r"--forget https://docs\.example/guide/"):
        remove_document("a", tmp_path, tmp_path / "uploads", None, None)
    remove_document("b", tmp_path, tmp_path / "uploads", None, None)
    assert forgotten == [["https://docs.example/guide/start"]]
