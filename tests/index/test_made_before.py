"""Indexes that an earlier version made open, answer, follow their files, and are found sound."""

import shutil
from pathlib import Path

import pytest

from rag.build.indexes import examine_index, ingest_documents, make_index
from rag.index.calibration import read_calibration
from rag.index.folder import roll_back
from rag.index.read import open_index
from rag.retrieve.dense import DenseRetriever
from tests.fakes.documents import SETTINGS

MADE = Path(__file__).parents[1] / "fixtures" / "made_by_0_1"
PLACES = ("manifest.json", "sources.json", "documents.jsonl")


@pytest.fixture
def made(tmp_path):
    """A copy of what was made, whose paths say where it now lies."""
    folder = tmp_path / "made"
    shutil.copytree(MADE, folder)
    for path in folder.rglob("*.json*"):
        if path.name in PLACES:
            path.write_text(path.read_text("utf-8").replace('"/made/', f'"{folder}/'), "utf-8")
    return folder


def dense_ids(folder, encoder, question):
    """The ids of all passages, nearest first by their vectors."""
    index = open_index(folder)
    retriever = DenseRetriever(encoder, index.vectors(), index.corpus, windows=index.windows())
    (hits,) = retriever.retrieve([question], 10)
    return [hit.passage.id for hit in hits]


def test_an_index_of_documents_is_searched(made, encoder):
    index = open_index(made / "documents.index")
    index.check_encoder(encoder.fingerprint)
    by_source = {passage.source: passage for passage in index.corpus}
    assert set(by_source) == {"manuals/dogs.txt", "manuals/ferry.txt", "manuals/harbour.md"}
    (hits,) = index.bm25().retrieve(["Who is the harbour master?"], 10)
    assert [hit.passage for hit in hits] == [by_source["manuals/harbour.md"]]
    assert hits[0].passage.title == "Harbour"
    ferry = by_source["manuals/ferry.txt"]
    found = dense_ids(made / "documents.index", encoder, ferry.content)
    assert (len(found), found[0]) == (3, ferry.id)


def test_an_index_of_documents_follows_its_files_and_goes_back(made, encoder):
    index = made / "documents.index"
    before = [passage.text for passage in open_index(index).corpus]
    (made / "manuals" / "birds.txt").write_text("Birds sail for half the fare.", "utf-8")
    result = ingest_documents(SETTINGS, [], index)
    assert (result.added, result.kept, result.removed, result.n_passages) == (1, 3, 0, 4)
    assert encoder.embedded == ["birds\nBirds sail for half the fare."]
    assert examine_index(SETTINGS, index) == []
    assert roll_back(index).n_passages == 3
    assert [passage.text for passage in open_index(index).corpus] == before


def test_an_index_of_a_corpus_file_is_searched_by_windows_too(made, encoder):
    index = open_index(made / "corpus.index")
    assert index.manifest.window_sentences == 1
    assert index.windows().tolist() == [0, 0, 0]
    (hits,) = index.bm25().retrieve(["Why does bread rise?"], 10)
    assert [hit.passage.id for hit in hits] == ["bread@0"]
    (hits,) = index.bm25().retrieve(["the ferry to the island"], 10)
    assert hits[0].passage.id == "tern@1"
    # A sentence by itself is nearest to the passage that it is a window of.
    found = dense_ids(made / "corpus.index", encoder, "Tern Island\nIt was built in 1874.")
    assert (sorted(found), found[0]) == (["bread@0", "tern@0", "tern@1"], "tern@0")


def test_an_index_of_a_corpus_file_is_left_as_it_is_and_keeps_its_calibration(made, encoder):
    index = made / "corpus.index"
    manifest = make_index(SETTINGS, made / "corpus.txt", index)
    assert encoder.embedded == []
    assert manifest == open_index(index).manifest
    assert read_calibration(index)["index"] == manifest.fingerprint


@pytest.mark.parametrize("name", ["documents.index", "corpus.index"])
def test_the_doctor_finds_them_sound(made, encoder, name):
    assert examine_index(SETTINGS, made / name) == []
