"""A hash is taken once; whatever changes a file in an ordinary way lets it be taken again."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from rag.build import indexes
from rag.build.indexes import examine_index, ingest_documents
from rag.data.corpus import load_corpus
from rag.data.stored import StoredCorpus
from rag.errors import IndexMismatchError
from rag.index import follow, parts
from rag.index import manifest as manifest_module
from rag.index.checked import CHECKED, sha256_checked
from rag.index.folder import roll_back, serving_manifest
from rag.index.read import open_index
from rag.index.write import build_index
from tests.fakes.damage import answers, flipped, generation_of
from tests.fakes.documents import SETTINGS, WordEncoder
from tests.fakes.tiny import write_corpus


def aged(folder):
    """Let every file below be an hour old."""
    for path in folder.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime_ns - 3_600_000_000_000
            os.utime(path, ns=(then, then))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index of three documents."""
    folder = tmp_path_factory.mktemp("checked")
    (folder / "manuals").mkdir()
    for n in range(3):
        (folder / "manuals" / f"{n}.txt").write_text(f"Rule {n} is about the harbour.", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes, "make_encoder", lambda settings, lazy: WordEncoder())
        ingest_documents(SETTINGS, [folder / "manuals"], folder / "index")
    return folder / "index"


@pytest.fixture
def index(made, tmp_path, encoder):
    """A copy of that index whose files are old."""
    return aged(Path(shutil.copytree(made, tmp_path / "index")))


@pytest.fixture
def hashed(monkeypatch):
    """How often each file was hashed, by its name."""
    found = Counter()

    def counted(path, original=parts.file_sha256):
        found[path.name] += 1
        return original(path)

    monkeypatch.setattr(parts, "file_sha256", counted)
    return found


def opened(index):
    """Everything of an index opened."""
    there = open_index(index)
    return there, there.vectors(), there.bm25()


def test_a_generation_is_hashed_once_and_its_passages_stay_on_the_disk(index, hashed):
    assert isinstance(opened(index)[0].corpus, StoredCorpus)
    assert {"passages.jsonl", "passages.npy", "vectors.faiss", "vocab.index.json"} < set(hashed)
    assert set(hashed.values()) == {1}
    opened(index)
    assert set(hashed.values()) == {1}


def test_the_doctor_and_the_way_back_take_every_hash_anew(index, hashed, tmp_path):
    opened(index)
    first = generation_of(index)
    examine_index(SETTINGS, index)
    assert hashed["vectors.faiss"] == hashed["data.csc.index.npy"] == 2
    assert hashed["passages.npy"] >= 2
    (tmp_path / "more.txt").write_text("Another rule.", "utf-8")
    ingest_documents(SETTINGS, [tmp_path / "more.txt"], index)
    before = hashed["vectors.faiss"]
    roll_back(index)
    assert generation_of(index)
    assert serving_manifest(index)[0].name == first
    assert hashed["vectors.faiss"] == before + 1


@pytest.mark.parametrize("name", ["passages.jsonl", "passages.npy", "vectors.faiss", "bm25/indices.csc.index.npy"])
def test_a_file_that_changes_is_hashed_again_and_its_damage_found(index, name):
    wanted = answers(index)
    opened(index)
    path = index / generation_of(index) / name
    flipped(path, path.stat().st_size - 9, 2)
    if name == "passages.npy":  # then the passages are loaded as they were before there was a table
        assert not isinstance(open_index(index).corpus, StoredCorpus)
        assert answers(index) == wanted
        (finding,) = examine_index(SETTINGS, index)
        assert "passages.npy is missing or damaged" in finding.what
        ingest_documents(SETTINGS, [], index)
        assert examine_index(SETTINGS, index) == []
        return
    with pytest.raises(IndexMismatchError, match=r"damaged|not the 3 of its manifest|cannot be read"):
        opened(index)


def test_bytes_that_change_behind_the_systems_back_are_found_by_the_doctor(index):
    opened(index)
    path = index / generation_of(index) / "vectors.faiss"
    before = path.stat()
    flipped(path, 60, 3)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    opened(index)  # nothing of it can be seen without reading it
    (finding,) = examine_index(SETTINGS, index)
    assert "vectors.faiss is missing or damaged (its bytes are not those that were written)" in finding.what


def test_so_are_those_of_a_passage_when_it_is_read(index):
    passage = open_index(index).corpus[1]
    path = index / generation_of(index) / "passages.jsonl"
    before = path.stat()
    flipped(path, path.read_bytes().index(passage.id.encode()) + 90, 0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    corpus = open_index(index).corpus
    assert corpus[0].text == "Rule 0 is about the harbour."
    with pytest.raises(IndexMismatchError, match=r"passages\.jsonl is missing or damaged \(passage 2.*rag ingest -i"):
        corpus[1]
    assert "passages" in examine_index(SETTINGS, index)[0].what


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"vectors.faiss": [[1, 2, 3], "00"]}', b"\xff", None])
def test_a_damaged_note_costs_time_and_nothing_else(index, content, hashed):
    wanted = answers(index)
    note = index / generation_of(index) / CHECKED
    note.unlink()
    if content is None:
        note.mkdir()
    else:
        note.write_bytes(content)
    assert answers(index) == wanted
    assert examine_index(SETTINGS, index) == []


def test_a_note_of_another_index_is_not_believed(index, hashed):
    opened(index)
    copy = shutil.copytree(index, index.with_name("copy"))  # with the times of the files, but other inodes
    hashed.clear()
    opened(copy)
    assert hashed["vectors.faiss"] == 1


def test_a_file_that_has_just_changed_is_not_noted(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    first = sha256_checked(tmp_path, path)
    stamp = path.stat()
    path.write_bytes(b"new")  # within the same tick of a slow clock
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert sha256_checked(tmp_path, path) != first


def test_a_corpus_file_is_hashed_once_until_it_changes(tmp_path, passages, encoder, monkeypatch):
    corpus = write_corpus(tmp_path / "corpus.txt", passages)
    build_index(corpus, tmp_path / "index", encoder)
    aged(tmp_path)
    open_index(tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr(manifest_module, "file_sha256", lambda path: pytest.fail("hashed again"))
        assert open_index(tmp_path / "index").corpus.sha256() == load_corpus(corpus).sha256()
    write_corpus(corpus, passages[1:])
    with pytest.raises(IndexMismatchError, match="has changed since"):
        open_index(tmp_path / "index")


def test_a_line_that_rotted_unseen_is_mended_by_the_command_that_is_named(index):
    path = index / generation_of(index) / "passages.jsonl"
    open_index(index).bm25()  # every hash is known
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Rule 1", b"Rule 7"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(IndexMismatchError, match="not those that were written"):
        list(open_index(index).corpus)
    ingest_documents(SETTINGS, [], index)
    found = sorted(passage.text for passage in open_index(index).corpus)
    assert found == [f"Rule {n} is about the harbour." for n in range(3)]


def test_a_document_that_lost_a_passage_is_split_again(index, monkeypatch):
    monkeypatch.setattr(follow, "by_document", lambda corpus, names: {name: [] for name in names})
    ingest_documents(SETTINGS, [], index)
    assert len(open_index(index).corpus) == 3
