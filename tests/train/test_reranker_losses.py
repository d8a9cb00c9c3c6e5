"""The ranking losses of our own, worked by hand."""

import math

import pytest
import torch
from sentence_transformers import CrossEncoder

from rag.train.reranker_losses import HybridLoss, NoneOfTheseLoss, hybrid_loss, none_of_these_loss


def softplus(x):
    return math.log1p(math.exp(x))


def capped(difference, cap=5.0):
    return cap * math.tanh(difference / cap)


def test_pairs_within_the_top_and_a_list_for_the_rest():
    # the model's top 2 are the candidates of 3.0 (irrelevant) and 2.0 (relevant); 1.0 and -1.0 are the rest
    logits, labels = torch.tensor([2.0, 3.0, 1.0, -1.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    pairwise = softplus(3.0 - 2.0)
    listwise = math.log(1 + math.exp(-capped(1.0)) + math.exp(-capped(3.0)))
    assert hybrid_loss(logits, labels, top=2, cap=5.0).item() == pytest.approx(pairwise + listwise, abs=1e-5)


def test_a_gold_passage_far_down_meets_the_whole_top():
    logits, labels = torch.tensor([0.0, 3.0, 1.0]), torch.tensor([1.0, 0.0, 0.0])
    pairwise = (softplus(3.0) + softplus(1.0)) / 2
    assert hybrid_loss(logits, labels, top=2, cap=5.0).item() == pytest.approx(pairwise, abs=1e-5)


def test_several_gold_passages_are_averaged():
    logits, labels = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
    expected = (softplus(-capped(2.0)) + softplus(-capped(1.0))) / 2
    assert hybrid_loss(logits, labels, top=3, cap=5.0).item() == pytest.approx(expected, abs=1e-5)
    assert hybrid_loss(logits, labels, top=2, cap=5.0).item() == pytest.approx(expected, abs=1e-5)


def test_pairs_far_apart_no_longer_pull_and_wrong_ones_do():
    def gradient(difference):
        logits = torch.tensor([difference, 0.0], requires_grad=True)
        hybrid_loss(logits, torch.tensor([1.0, 0.0]), top=5, cap=5.0).backward()
        return abs(logits.grad[0].item())

    assert gradient(0.0) == pytest.approx(0.5)
    assert gradient(25.0) < 1e-4
    assert gradient(-25.0) == pytest.approx(1.0)


def test_a_question_whose_labels_agree_teaches_nothing():
    logits = torch.tensor([2.0, 1.0], requires_grad=True)
    loss = hybrid_loss(logits, torch.tensor([0.0, 0.0]), top=5, cap=5.0)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.tolist() == [0.0, 0.0]


def test_over_a_model_it_is_the_mean_over_groups_of_any_size(tiny_reranker_folder):
    model = CrossEncoder(str(tiny_reranker_folder), device="cpu")
    model.eval()
    queries = ["who built the river", "old tower"]
    passages = [["the river", "red bridge", "the amber line"], ["tern island", "old tower"]]
    labels = [torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0])]
    pairs = [(query, text) for query, texts in zip(queries, passages, strict=True) for text in texts]
    logits = model.predict(pairs, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    expected = (
        hybrid_loss(logits[:3], labels[0], top=5, cap=5.0) + hybrid_loss(logits[3:], labels[1], top=5, cap=5.0)
    ) / 2
    loss = HybridLoss(model)([queries, passages], labels)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_none_of_these_stands_beside_the_candidates_with_a_logit_of_zero():
    logits = torch.tensor([2.0, -1.0])
    total = math.log(1 + math.exp(2.0) + math.exp(-1.0))
    assert none_of_these_loss(logits, torch.tensor([1.0, 0.0])).item() == pytest.approx(total - 2.0, abs=1e-5)
    assert none_of_these_loss(logits, torch.tensor([0.0, 0.0])).item() == pytest.approx(total, abs=1e-5)
    two_gold = none_of_these_loss(logits, torch.tensor([1.0, 1.0]))
    assert two_gold.item() == pytest.approx(total - (2.0 - 1.0) / 2, abs=1e-5)


def test_an_unanswerable_question_pulls_every_candidate_down():
    logits = torch.tensor([3.0, -2.0], requires_grad=True)
    none_of_these_loss(logits, torch.zeros(2)).backward()
    assert (logits.grad > 0).all()
    model_gradient = logits.grad[0]
    logits.grad = None
    none_of_these_loss(logits, torch.tensor([0.0, 1.0])).backward()
    assert logits.grad[0] == pytest.approx(model_gradient)
    assert logits.grad[1] < 0


def test_the_mean_is_over_answerable_and_unanswerable_questions(tiny_reranker_folder):
    model = CrossEncoder(str(tiny_reranker_folder), device="cpu")
    model.eval()
    inputs = [["who built the river", "old tower"], [["the river", "red bridge"], ["tern island"]]]
    logits = model.predict(
        [("who built the river", "the river"), ("who built the river", "red bridge"), ("old tower", "tern island")],
        activation_fn=torch.nn.Identity(),
        convert_to_tensor=True,
    )
    labels = [torch.tensor([1.0, 0.0]), torch.tensor([0.0])]
    expected = (none_of_these_loss(logits[:2], labels[0]) + none_of_these_loss(logits[2:], labels[1])) / 2
    assert NoneOfTheseLoss(model)(inputs, labels).item() == pytest.approx(expected.item(), abs=1e-4)
