import json
import shutil

import numpy as np
import pytest

from rag.errors import ModelError
from rag.rerank.cross_encoder import CrossEncoderReranker
from rag.rerank.keep_order import KeepOrder
from rag.types import Hit, Reranker

QUERIES = ["who designed the amber line", "why does bread rise"]


@pytest.fixture(scope="module")
def cross_encoder(tiny_reranker_folder):
    return CrossEncoderReranker(tiny_reranker_folder, device="cpu", precision="fp32")


@pytest.fixture(params=["cross-encoder", "keep order"])
def reranker(request, cross_encoder):
    return cross_encoder if request.param == "cross-encoder" else KeepOrder()


@pytest.fixture
def candidates(passages):
    return [[Hit(p, 1.0 - n / 10) for n, p in enumerate(passages)], [Hit(passages[4], 0.5)]]


class TestRerankerContract:
    def test_it_satisfies_the_protocol(self, reranker):
        assert isinstance(reranker, Reranker)

    def test_every_candidate_comes_back_once(self, reranker, candidates):
        for before, after in zip(candidates, reranker.rerank(QUERIES, candidates), strict=True):
            assert sorted(h.passage.id for h in before) == sorted(h.passage.id for h in after)

    def test_hits_are_sorted_by_score_then_id(self, reranker, candidates):
        for hits in reranker.rerank(QUERIES, candidates):
            assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.passage.id))

    def test_no_candidates_give_an_empty_list(self, reranker):
        assert reranker.rerank(QUERIES, [[], []]) == [[], []]

    def test_no_queries_give_no_lists(self, reranker):
        assert reranker.rerank([], []) == []


def test_scores_equal_sentence_transformers_logits(cross_encoder, tiny_reranker_folder, passages):
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    pairs = [(QUERIES[0], p.content) for p in passages]
    theirs = CrossEncoder(str(tiny_reranker_folder), device="cpu", max_length=64, activation_fn=Identity())
    assert np.allclose(cross_encoder.score(pairs), theirs.predict(pairs), atol=1e-5)


def test_the_score_does_not_depend_on_the_company(cross_encoder, passages):
    pairs = [(QUERIES[0], p.content) for p in passages]
    alone = [cross_encoder.score([pair])[0] for pair in pairs]
    assert np.allclose(cross_encoder.score(pairs), alone, atol=1e-5)


def test_a_cut_passage_is_counted_and_the_question_kept(tiny_reranker_folder):
    reranker = CrossEncoderReranker(tiny_reranker_folder, device="cpu", precision="fp32")
    reranker.score([("who built it", "the river " * 200), ("who built it", "the river")])
    assert reranker.passages_cut == 1


def test_a_question_longer_than_the_window_still_gets_a_score(cross_encoder):
    assert len(cross_encoder.score([("why " * 300, "the river")])) == 1


def test_a_classifier_with_two_labels_is_refused(tiny_reranker_folder, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path / "two"
    shutil.copytree(tiny_reranker_folder, folder)
    config = BertConfig(**{**json.loads((folder / "config.json").read_text()), "num_labels": 2})
    BertForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(ModelError, match="2 labels"):
        CrossEncoderReranker(folder, device="cpu", precision="fp32").score([("a", "b")])


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        CrossEncoderReranker(tmp_path, device="cpu")
