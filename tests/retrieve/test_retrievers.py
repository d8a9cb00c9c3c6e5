"""One contract for every retriever, and what is particular to each."""

import numpy as np
import pytest

from rag.build.indexes import make_index
from rag.build.retrievers import Retrievers
from rag.config import load_settings
from rag.data.passages import Corpus
from rag.errors import ConfigError
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.dense import DenseRetriever
from rag.retrieve.encoder import Encoder
from rag.retrieve.hybrid import HybridRetriever
from rag.retrieve.joined import JoinedRetriever
from rag.retrieve.vectors import FaissIndex
from rag.types import FusedRetriever, Hit, Passage, Retriever, VectorIndex
from tests.fakes.tiny import write_corpus

QUESTIONS = ["who designed the amber line", "why does bread rise", "lighthouse of tern island"]


@pytest.fixture(scope="session")
def corpus(passages):
    return Corpus(passages)


@pytest.fixture(scope="session")
def encoder(tiny_encoder_folder, tmp_path_factory):
    return Encoder(tiny_encoder_folder, precision="fp32", device="cpu", cache_root=tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="session")
def dense(encoder, corpus):
    vectors, _ = encoder.encode_passages([p.content for p in corpus])
    index = FaissIndex(vectors.shape[1])
    index.add(vectors)
    return DenseRetriever(encoder, index, corpus)


@pytest.fixture(scope="session")
def bm25(corpus):
    return BM25Retriever(corpus)


@pytest.fixture(params=["dense", "bm25", "hybrid"])
def retriever(request, dense, bm25):
    return {"dense": dense, "bm25": bm25, "hybrid": HybridRetriever({"dense": dense, "bm25": bm25})}[request.param]


class TestRetrieverContract:
    def test_it_satisfies_the_protocol(self, retriever):
        assert isinstance(retriever, Retriever)

    def test_one_list_per_query_in_order(self, retriever):
        together = retriever.retrieve(QUESTIONS, 3)
        assert len(together) == len(QUESTIONS)
        for question, hits in zip(QUESTIONS, together, strict=True):
            (alone,) = retriever.retrieve([question], 3)
            assert [hit.passage.id for hit in alone] == [hit.passage.id for hit in hits]

    def test_hits_are_sorted_by_score_then_id_without_repeats(self, retriever):
        for hits in retriever.retrieve(QUESTIONS, 7):
            assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.passage.id))
            assert len({hit.passage.id for hit in hits}) == len(hits)

    def test_a_smaller_k_is_a_prefix(self, retriever):
        for long, short in zip(retriever.retrieve(QUESTIONS, 5), retriever.retrieve(QUESTIONS, 2), strict=True):
            assert [h.passage.id for h in short] == [h.passage.id for h in long[:2]]

    def test_restricted_it_finds_the_rest_in_the_same_order(self, retriever, dense, bm25, corpus):
        rows = np.arange(len(corpus)) % 2 == 0
        if isinstance(retriever, HybridRetriever):
            parts = {"dense": dense.restricted_to(rows), "bm25": bm25.restricted_to(rows)}
            chosen = HybridRetriever(parts).retrieve(QUESTIONS, 100)
            assert all(hits for hits in chosen)
            assert all(rows[[p.id for p in corpus].index(hit.passage.id)] for hits in chosen for hit in hits)
            return
        allowed = {passage.id for passage, row in zip(corpus, rows, strict=True) if row}
        everything = retriever.retrieve(QUESTIONS, len(corpus))
        wanted = [[hit.passage.id for hit in hits if hit.passage.id in allowed] for hits in everything]
        for k in (1, 2, len(corpus)):
            found = retriever.restricted_to(rows).retrieve(QUESTIONS, k)
            assert [[hit.passage.id for hit in hits] for hits in found] == [ids[:k] for ids in wanted]

    def test_k_beyond_the_corpus_gives_what_there_is(self, retriever, corpus):
        for hits in retriever.retrieve(QUESTIONS, 1000):
            assert 0 < len(hits) <= len(corpus)

    def test_no_queries_give_no_lists(self, retriever):
        assert retriever.retrieve([], 3) == []


def test_bm25_finds_the_passage_that_shares_the_words(bm25):
    tops = [hits[0].passage.id for hits in bm25.retrieve(QUESTIONS, 1)]
    assert tops == ["doc_0@0", "doc_2@0", "doc_1@0"]


def test_bm25_has_no_hit_without_a_shared_word(bm25):
    assert bm25.retrieve(["xylophone"], 5) == [[]]


def test_bm25_answers_the_same_after_saving(bm25, corpus, tmp_path):
    bm25.save(tmp_path / "bm25")
    again = BM25Retriever.load(tmp_path / "bm25", corpus)
    assert again.retrieve(QUESTIONS, 5) == bm25.retrieve(QUESTIONS, 5)


def test_dense_scores_are_cosines(dense, encoder, corpus):
    (hits,) = dense.retrieve(QUESTIONS[:1], 7)
    query = encoder.encode_queries(QUESTIONS[:1])[0]
    vectors, _ = encoder.encode_passages([hit.passage.content for hit in hits])
    assert np.allclose([hit.score for hit in hits], vectors @ query, atol=1e-5)


class _Fixed:
    def __init__(self, ids):
        self.ids = ids

    def retrieve(self, queries, k):
        return [[Hit(Passage(i, i), 1.0 / n) for n, i in enumerate(self.ids, 1)][:k] for _ in queries]


def test_reciprocal_rank_fusion_by_hand():
    fused = HybridRetriever({"x": _Fixed(["a", "b", "c"]), "y": _Fixed(["c", "a"])}, rrf_k=60).retrieve(["q"], 3)[0]
    scores = {hit.passage.id: hit.score for hit in fused}
    assert scores == pytest.approx({"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62})
    assert [hit.passage.id for hit in fused] == ["a", "c", "b"]


def test_a_weight_of_zero_leaves_only_the_other_order():
    fused = HybridRetriever({"x": _Fixed(["a", "b"]), "y": _Fixed(["b", "a"])}, weights={"x": 0}).retrieve(["q"], 2)[0]
    assert [hit.passage.id for hit in fused] == ["b", "a"]


@pytest.fixture(scope="module")
def vectors():
    rows = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=["Flat", "HNSW16", "IVF8,Flat", "IVF4,PQ8"])
def index(request, vectors):
    made = FaissIndex(16, request.param)
    made.train(vectors)
    made.add(vectors[:300])
    made.add(vectors[300:])
    return made


class TestVectorIndexContract:
    def test_it_satisfies_the_protocol(self, index):
        assert isinstance(index, VectorIndex)

    def test_rows_are_numbered_in_the_order_they_came(self, index, vectors):
        _, rows = index.search(vectors[[0, 299, 300, 399]], 10)
        assert all(row in found for row, found in zip([0, 299, 300, 399], rows.tolist(), strict=True))

    def test_scores_fall_and_are_inner_products(self, index, vectors):
        scores, rows = index.search(vectors[:5], 10)
        assert scores.shape == rows.shape == (5, 10)
        assert (np.diff(scores, axis=1) <= 0).all()
        np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", vectors[:5], vectors[rows]), atol=0.35)

    def test_what_is_missing_is_row_minus_one(self, index, vectors):
        _, rows = index.search(vectors[:2], 500)
        assert (rows[:, 400:] == -1).all()
        known = rows[rows >= 0]
        assert known.max() < 400

    def test_it_answers_the_same_after_saving(self, index, vectors, tmp_path):
        index.save(tmp_path / "vectors.faiss")
        loaded = FaissIndex.load(tmp_path / "vectors.faiss")
        assert len(loaded) == len(index) == 400
        for one, other in zip(index.search(vectors[:5], 10), loaded.search(vectors[:5], 10), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_retrievers_of_one_index_share_encoder_and_corpus(tmp_path, tiny_encoder_folder, passages, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    corpus_file = write_corpus(tmp_path / "corpus.jsonl", passages)
    settings = load_settings(overrides=[f"encoder.model={tiny_encoder_folder}"])
    make_index(settings, corpus_file, tmp_path / "index")
    retrievers = Retrievers(settings, tmp_path / "index")
    dense, bm25, hybrid = (retrievers.get(kind) for kind in ("dense", "bm25", "hybrid"))
    assert hybrid.retrievers["dense"] is dense
    assert hybrid.retrievers["bm25"] is bm25
    assert dense.corpus is bm25.corpus


def test_with_two_hops_every_kind_searches_twice(tmp_path, tiny_encoder_folder, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    passages = [
        Passage("film@0", "Jana Novak directed the film on Tern Island.", "Amber Line"),
        Passage("director@0", "She was raised by her uncle in Graz.", "Jana Novak"),
        Passage("film@1", "A line of amber stones.", "Stones"),
    ]
    corpus_file = write_corpus(tmp_path / "corpus.jsonl", passages)
    overrides = [f"encoder.model={tiny_encoder_folder}"]
    make_index(load_settings(overrides=overrides), corpus_file, tmp_path / "index")
    question = "Where did the director of the film Amber Line grow up?"

    def found(hops):
        retrievers = Retrievers(load_settings(overrides=[*overrides, f"retriever.hops={hops}"]), tmp_path / "index")
        assert isinstance(retrievers.get("hybrid"), FusedRetriever)
        assert len(retrievers.get("hybrid").retrieve_with_parts([question], 3)[0][0]) == 3
        lists = [
            retriever.retrieve([question], 5)[0]
            for retriever in (retrievers.get("bm25"), retrievers.without("bm25", ["film"]))
        ]
        return [[hit.passage.id for hit in hits] for hits in lists]

    # Without the film, nothing names its director.
    assert found(1) == [["film@0", "film@1"], []]
    assert found(2) == [["film@0", "film@1", "director@0"], []]


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,Flat"])
def test_a_part_that_lies_apart_is_searched_whole(factory):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(2000, 16)).astype(np.float32)
    vectors[:40] += 6  # a small collection about something else
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = FaissIndex(16, factory, nprobe=1, ef_search=256)
    index.train(vectors)
    index.add(vectors)
    within = np.arange(2000) < 40
    _, rows = index.search(vectors[1000:1020], 5, within)
    found = rows[rows >= 0]
    assert within[found].all()
    assert len(found) >= (100 if factory != "HNSW16" else 80)


def test_an_index_that_cannot_search_in_a_part_says_so():
    vectors = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)
    index = FaissIndex(16, "PQ4x4fs")
    index.train(vectors)
    index.add(vectors)
    with pytest.raises(ConfigError, match="cannot search in a part"):
        index.search(vectors[:1], 5, np.arange(600) < 9)


def test_joined_retrievers_take_turns_and_count_a_passage_once():
    class Fixed:
        def __init__(self, *ids):
            self.ids = ids

        def retrieve(self, queries, k):
            return [[Hit(Passage(pid, pid), 9.0 - n) for n, pid in enumerate(self.ids[:k])] for _ in queries]

    joined = JoinedRetriever([Fixed("a", "b", "c"), Fixed("x", "b"), Fixed()])
    found = joined.retrieve(["one", "two"], 4)
    assert [[hit.passage.id for hit in hits] for hits in found] == [["a", "x", "b", "c"]] * 2
    assert [hit.score for hit in found[0]] == [1.0, 1 / 2, 1 / 3, 1 / 4]
    assert [hit.passage.id for hit in joined.retrieve(["one"], 1)[0]] == ["a"]
