"""Passages that stay on the disk give what a corpus in memory gives, and nothing else."""

import gc
import os

import numpy as np
import pytest

from rag.data import stored
from rag.data.passages import Corpus
from rag.data.stored import ChangedCorpus, StoredCorpus, described, digest, is_of, write_table
from rag.errors import IndexMismatchError
from rag.types import Passage, Place

PASSAGES = [
    Passage("b@0", "Brot geht auf.", "Brot", "b.txt", Place(0, 14, 3)),
    Passage('odd", "title": @1', 'A quotation mark " and a line\nend.', 'Ti"tle', "odd.txt"),
    Passage("a@0", "", "A title alone", ""),
    Passage("b@1", "Half a pair \ud800 and an emoji 🙂.", "Brot", "b.txt", Place(14, 40)),
    Passage("日本@0", "パン", "", "c"),
]


def written(folder, passages=PASSAGES):
    lines, ids = described(passages, path=folder / "passages.jsonl")
    write_table(folder / "passages.npy", lines, ids)
    return StoredCorpus({0: folder / "passages.jsonl"}, folder / "passages.npy", "rag ingest -i my.index")


def test_they_are_those_that_were_written_by_row_by_id_and_in_order(tmp_path):
    corpus, memory = written(tmp_path), Corpus(PASSAGES)
    assert list(corpus) == PASSAGES
    assert [corpus[n] for n in range(-5, 5)] == PASSAGES * 2
    assert corpus[np.int64(3)] == PASSAGES[3]
    assert corpus[1:4] == PASSAGES[1:4]
    assert corpus[::-2] == PASSAGES[::-2]
    assert [corpus.by_id(passage.id) for passage in PASSAGES] == PASSAGES
    assert len(corpus) == 5
    assert list(corpus.ids()) == list(memory.ids()) == [passage.id for passage in PASSAGES]
    assert corpus.sha256() == memory.sha256()


def test_what_is_not_there_is_not_found(tmp_path):
    corpus = written(tmp_path)
    for row in (5, -6):
        with pytest.raises(IndexError):
            corpus[row]
    for other in ("b@2", "", 7, None):
        assert other not in corpus
    with pytest.raises(KeyError):
        corpus.by_id("b@2")


def test_the_passages_of_documents(tmp_path):
    for corpus in (written(tmp_path), Corpus(PASSAGES)):
        assert corpus.of_document("b") == [PASSAGES[0], PASSAGES[3]]
        assert corpus.of_document("none") == []
        assert corpus.marked(["b", "日本", "none"]).tolist() == [True, False, False, True, True]
        assert corpus.marked([]).tolist() == [False] * 5


def test_two_ids_of_one_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "hash64", lambda content: len(content) % 3)
    corpus = written(tmp_path)
    assert [corpus.by_id(passage.id) for passage in PASSAGES] == PASSAGES
    assert "c@0" not in corpus
    assert corpus.of_document("b") == [PASSAGES[0], PASSAGES[3]]


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_line_that_changes_under_an_open_corpus_is_a_sentence_and_never_a_passage(tmp_path, how):
    corpus = written(tmp_path)
    path = tmp_path / "passages.jsonl"
    content = bytearray(path.read_bytes())
    at = content.index(b"pair")
    if how == "cut":
        os.truncate(path, at)
    else:
        content[at] ^= 4
        path.write_bytes(content)
    assert corpus[0] == PASSAGES[0]
    for read in (lambda: corpus[3], lambda: corpus.by_id("b@1"), lambda: list(corpus), lambda: list(corpus.ids())):
        with pytest.raises(IndexMismatchError, match=r"passages\.jsonl is missing or damaged \(passage 4: its bytes"):
            read()


def test_a_damaged_table_gives_no_wrong_passage(tmp_path):
    corpus = written(tmp_path)
    sound = np.load(tmp_path / "passages.npy")
    for column in (stored.START, stored.SIZE, stored.CHECK):
        for value in (0, 1, 2**62, 2**64 - 1):
            table = sound.copy()
            table[column, 3] = value
            np.save(tmp_path / "passages.npy", table)
            damaged = StoredCorpus(
                {0: tmp_path / "passages.jsonl"}, tmp_path / "passages.npy", "rag ingest -i my.index"
            )
            with pytest.raises(IndexMismatchError, match=r"passage 4.*rag ingest -i my\.index"):
                damaged[3]
    assert corpus[2] == PASSAGES[2]


def test_it_outlives_its_folder_and_closes_its_files(tmp_path):
    corpus = written(tmp_path)
    (tmp_path / "passages.jsonl").unlink()
    (tmp_path / "passages.npy").unlink()
    assert list(corpus) == PASSAGES
    before = len(os.listdir("/proc/self/fd"))
    del corpus
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < before


def test_a_digest_moves_with_every_field_and_with_order_and_not_with_where_passages_are(tmp_path):
    corpora = [PASSAGES, PASSAGES[::-1], PASSAGES[:-1], [*PASSAGES[:-1], Passage("日本@0", "パン", "", "d")], []]
    assert len({digest(Corpus(passages)) for passages in corpora}) == len(corpora)
    corpus = written(tmp_path)
    assert digest(corpus) == digest(Corpus(PASSAGES))
    for stored_as in (digest(corpus), corpus.sha256()):
        assert is_of(corpus, stored_as)
        assert not is_of(Corpus(PASSAGES[1:]), stored_as)


def test_a_changed_corpus_is_what_it_would_be_in_memory(tmp_path):
    new = [Passage("new@0", "One."), Passage("new@1", "Two.", "A title")]
    changed = ChangedCorpus(written(tmp_path), np.array([3, -1, 0, 4, -1]), new)
    memory = Corpus([PASSAGES[3], new[0], PASSAGES[0], PASSAGES[4], new[1]])
    assert list(changed) == list(memory)
    assert changed[1:4] == memory[1:4]
    assert changed[-1] == new[1]
    assert list(changed.ids()) == list(memory.ids())
    assert digest(changed) == digest(memory)
    assert changed.sha256() == memory.sha256()
    assert changed.by_id("new@1") == new[1]
    assert "a@0" not in changed
    assert changed.of_document("b") == [PASSAGES[3], PASSAGES[0]]
