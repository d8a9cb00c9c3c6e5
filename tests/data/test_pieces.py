"""Passages put together from pieces are those of the pieces, in order."""

import numpy as np
import pytest

from rag.data.passages import Corpus
from rag.data.pieces import Pieces, StoredRows, by_document
from rag.data.stored import ChangedCorpus, StoredCorpus, described, write_table
from rag.types import Passage

PASSAGES = [Passage(f"{name}@{n}", f"text {name} {n}") for n in range(2) for name in "abc"]
NEW = [Passage("new@0", "new")]


@pytest.fixture
def stored(tmp_path):
    write_table(tmp_path / "passages.npy", *described(PASSAGES, path=tmp_path / "passages.jsonl"))
    return StoredCorpus({0: tmp_path / "passages.jsonl"}, tmp_path / "passages.npy", "rag ingest")


def test_pieces_are_one_corpus_that_leaves_what_is_stored_on_the_disk(stored):
    pieces = Pieces()
    pieces.take(StoredRows(stored, np.array([4, 0])))
    pieces.take(NEW)
    pieces.take(StoredRows(stored, np.array([5])))
    wanted = [PASSAGES[4], PASSAGES[0], *NEW, PASSAGES[5]]
    assert (len(pieces), list(pieces), pieces[1]) == (4, wanted, PASSAGES[0])
    corpus = pieces.corpus()
    assert isinstance(corpus, ChangedCorpus)
    assert (list(corpus), corpus.origin.tolist(), corpus.fresh) == (wanted, [4, 0, -1, 5], NEW)


def test_pieces_without_anything_stored_are_a_corpus_in_memory():
    pieces = Pieces()
    assert (len(pieces.corpus()), list(pieces)) == (0, [])
    pieces.take(NEW)
    pieces.take([])
    assert list(pieces.corpus()) == NEW
    assert type(pieces.corpus()) is Corpus


def test_the_passages_of_documents_by_their_names(stored):
    for corpus in (stored, Corpus(PASSAGES)):
        found = by_document(corpus, ["c", "a", "none"])
        assert {name: list(own) for name, own in found.items()} == {
            "c": [PASSAGES[2], PASSAGES[5]],
            "a": [PASSAGES[0], PASSAGES[3]],
            "none": [],
        }
    assert isinstance(by_document(stored, ["b"])["b"], StoredRows)
