"""Passages by their windows: what a window holds, how its vector is made, and what an index of them finds."""

import numpy as np
import pytest

from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.index.read import open_index
from rag.index.write import build_index
from rag.retrieve.dense import DenseRetriever
from rag.retrieve.encoder import Encoder
from rag.retrieve.windows import WINDOW_SHARE, mix_windows, window_contents
from rag.types import Passage
from tests.fakes.tiny import write_corpus

LONG = Passage("doc_9@0", "One is odd. Two is even. Three is odd. Four is even. Five is odd.", "Numbers")


@pytest.fixture(scope="module")
def encoder(tiny_encoder_folder):
    return Encoder(tiny_encoder_folder, device="cpu", precision="fp32")


@pytest.fixture
def corpus_file(tmp_path, passages):
    return write_corpus(tmp_path / "corpus.txt", [*passages, LONG])


def dense(folder, encoder):
    opened = open_index(folder)
    return DenseRetriever(encoder, opened.vectors(), opened.corpus, windows=opened.windows())


@pytest.mark.parametrize(
    ("n_sentences", "windows"),
    [
        (0, []),
        (1, ["One is odd.", "Two is even.", "Three is odd.", "Four is even.", "Five is odd."]),
        (
            2,
            [
                "One is odd. Two is even.",
                "Two is even. Three is odd.",
                "Three is odd. Four is even.",
                "Four is even. Five is odd.",
            ],
        ),
        (3, ["One is odd. Two is even. Three is odd.", "Three is odd. Four is even. Five is odd."]),
        (4, ["One is odd. Two is even. Three is odd. Four is even.", "Four is even. Five is odd."]),
        (5, []),
        (9, []),
    ],
)
def test_windows_cover_a_passage_and_share_a_sentence(n_sentences, windows):
    assert window_contents(LONG, n_sentences) == [f"Numbers\n{text}" for text in windows]


def test_a_window_is_mixed_with_its_passage():
    window, whole = np.array([[0.0, 1.0]], np.float32), np.array([[1.0, 0.0]], np.float32)
    assert np.allclose(mix_windows(window, whole), [[1 - WINDOW_SHARE, WINDOW_SHARE]])


def test_a_passage_scores_what_the_nearest_of_its_vectors_does(corpus_file, tmp_path, encoder):
    manifest = build_index(corpus_file, tmp_path / "index", encoder, window_sentences=3)
    assert manifest.window_sentences == 3
    question = "three is odd"
    (hits,) = dense(tmp_path / "index", encoder).retrieve([question], 8)
    corpus = open_index(tmp_path / "index").corpus
    assert sorted(hit.passage.id for hit in hits) == sorted(passage.id for passage in corpus)
    (query,) = encoder.encode_queries([question])
    for hit in hits:
        whole, _ = encoder.encode_passages([hit.passage.content])
        windows, _ = encoder.encode_passages(window_contents(hit.passage, 3))
        vectors = np.concatenate([whole, 0.7 * windows + 0.3 * whole])
        assert hit.score == pytest.approx(float((vectors @ query).max()), abs=1e-5)


class Rows:
    """An index whose search names its rows in order, best first."""

    def search(self, queries, k, within=None):
        rows = np.array([row for row in range(9) if within is None or within[row]][:k] + [-1] * 9)[:k]
        return np.tile(np.where(rows < 0, 0, 1 - rows / 10).astype(np.float32), (len(queries), 1)), np.tile(
            rows, (len(queries), 1)
        )


def test_as_many_passages_are_found_as_are_asked_for(encoder, passages):
    corpus = Corpus(passages[:3])
    windows = np.zeros(6, np.int64)  # all of the first passage

    class WindowsFirst(Rows):
        def search(self, queries, k, within=None):
            scores, rows = super().search(queries, k, None if within is None else np.roll(within, 6))
            return scores, np.where(rows < 0, rows, (rows + 3) % 9)

    retriever = DenseRetriever(encoder, WindowsFirst(), corpus, windows=windows)
    (hits,) = retriever.retrieve(["a question"], 3)
    assert [hit.passage.id for hit in hits] == [passage.id for passage in passages[:3]]
    (hits,) = retriever.restricted_to(np.array([False, True, True])).retrieve(["a question"], 3)
    assert [hit.passage.id for hit in hits] == [passage.id for passage in passages[1:3]]


def test_an_index_that_follows_its_corpus_equals_a_new_one(corpus_file, tmp_path, encoder, passages, monkeypatch):
    short = [passage for passage in passages if len(passage.text) < 200]
    write_corpus(corpus_file, [*short, LONG])
    build_index(corpus_file, tmp_path / "index", encoder, window_sentences=2)
    added = Passage("doc_8@0", "Rain falls. Snow lies. Ice melts slowly.", "Weather")
    write_corpus(corpus_file, [added, LONG, *short[1:]])
    encoded = []
    plain = Encoder.encode_passages
    with monkeypatch.context() as patch:
        patch.setattr(
            Encoder, "encode_passages", lambda self, texts, **k: encoded.extend(texts) or plain(self, texts, **k)
        )
        build_index(corpus_file, tmp_path / "index", encoder, window_sentences=2)
    assert sorted(encoded) == sorted([added.content, *window_contents(added, 2)])
    build_index(corpus_file, tmp_path / "new", encoder, window_sentences=2)
    ours, theirs = open_index(tmp_path / "index"), open_index(tmp_path / "new")
    assert ours.windows().tolist() == theirs.windows().tolist() == [0, 0, 1, 1, 1, 1]
    rows = range(len(theirs.vectors()))
    assert np.allclose(ours.vectors().vectors(rows), theirs.vectors().vectors(rows), atol=1e-5)


def test_windows_make_another_index_and_leave_the_passages_as_they_are(corpus_file, tmp_path, encoder, monkeypatch):
    without = build_index(corpus_file, tmp_path / "index", encoder)
    before = open_index(tmp_path / "index").vectors().vectors(range(8))
    made = build_index(corpus_file, tmp_path / "index", encoder, window_sentences=3)
    assert made.fingerprint != without.fingerprint
    assert np.allclose(open_index(tmp_path / "index").vectors().vectors(range(8)), before, atol=1e-6)
    again = build_index(corpus_file, tmp_path / "index", encoder, window_sentences=0)
    assert again.fingerprint == without.fingerprint
    assert len(open_index(tmp_path / "index").windows()) == 0


def test_an_index_keeps_its_kind_until_another_is_named(corpus_file, tmp_path, encoder):
    build_index(corpus_file, tmp_path / "index", encoder, factory="HNSW8", window_sentences=2)
    write_corpus(corpus_file, [LONG])
    kept = build_index(corpus_file, tmp_path / "index", encoder)
    assert (kept.n_passages, kept.factory, kept.window_sentences) == (1, "HNSW8", 2)
    named = build_index(corpus_file, tmp_path / "index", encoder, factory="Flat")
    assert (named.factory, named.window_sentences) == ("Flat", 2)
    (next((tmp_path / "index").glob(f"generation-{named.fingerprint}")) / "manifest.json").write_text("{}", "utf-8")
    assert build_index(corpus_file, tmp_path / "index", encoder).window_sentences == 0  # nobody knows what it was


def test_an_index_that_has_lost_its_windows_is_refused(corpus_file, tmp_path, encoder):
    build_index(corpus_file, tmp_path / "index", encoder, window_sentences=3)
    (next((tmp_path / "index").glob("generation-*")) / "windows.npy").unlink()
    with pytest.raises(IndexMismatchError, match=r"windows.npy is missing.*rag index"):
        open_index(tmp_path / "index").vectors()
    build_index(corpus_file, tmp_path / "index", encoder, window_sentences=3)
    (next((tmp_path / "index").glob("generation-*")) / "windows.npy").write_bytes(b"")
    with pytest.raises(IndexMismatchError, match=r"windows.npy is missing or damaged"):
        open_index(tmp_path / "index").vectors()


def test_a_title_that_moves_into_the_text_gets_windows_of_its_own(corpus_file, tmp_path, encoder):
    text = "One is odd. Two is even. Three is odd."
    write_corpus(corpus_file, [Passage("a@0", text, "Intro here.")])
    build_index(corpus_file, tmp_path / "index", encoder, window_sentences=1)
    write_corpus(corpus_file, [Passage("a@0", f"Intro here.\n{text}")])
    build_index(corpus_file, tmp_path / "index", encoder, window_sentences=1)
    build_index(corpus_file, tmp_path / "new", encoder, window_sentences=1)
    ours, theirs = (open_index(tmp_path / name).vectors() for name in ("index", "new"))
    rows = range(len(theirs))
    assert np.allclose(ours.vectors(rows), theirs.vectors(rows), atol=1e-5)
