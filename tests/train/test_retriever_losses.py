"""The contrastive loss, worked by hand, and what it masks."""

import math

import numpy as np
import pytest
import torch

from rag.train.retriever_losses import (
    DistilledLoss,
    Guide,
    MarginLoss,
    MaskedContrastiveLoss,
    PairTable,
    TensionLoss,
)
from tests.fakes.losses import Given

QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
POSITIVES = torch.tensor([[0.6, 0.8], [0.0, 2.0]])
NEGATIVES = torch.tensor([[0.0, 1.0], [1.0, 0.0]])


def loss_of(table, *columns, temperature=0.5, **options):
    loss = MaskedContrastiveLoss(Given(), table, temperature=temperature, **options)
    features = [{"input": column, "input_ids": torch.zeros(len(column), 1)} for column in columns]
    return loss, loss(features, torch.arange(len(columns[0])))


def test_the_loss_by_hand():
    table = PairTable([[0, 2], [1, 3]], [{0}, {1}])
    _, value = loss_of(table, QUERIES, POSITIVES, NEGATIVES)
    # cosines of query 0 with the candidates: .6, 0, 0, 1; of query 1: .8, 1, 1, 0; divided by .5
    first = -1.2 + math.log(sum(map(math.exp, (1.2, 0.0, 0.0, 2.0))))
    second = -2.0 + math.log(sum(map(math.exp, (1.6, 2.0, 2.0, 0.0))))
    assert value.item() == pytest.approx((first + second) / 2, abs=1e-5)


def test_known_positives_of_any_question_are_masked():
    table = PairTable([[0, 2], [1, 3]], [{0, 3}, {1}])
    mask = table.negatives_mask(np.array([0, 1]))
    # candidates: 0 and its negative 2, then 1 and its negative 3
    assert mask.tolist() == [[False, True, True, False], [True, True, False, True]]
    _, value = loss_of(table, QUERIES, POSITIVES, NEGATIVES)
    first = -1.2 + math.log(sum(map(math.exp, (1.2, 0.0, 0.0))))
    second = -2.0 + math.log(sum(map(math.exp, (1.6, 2.0, 2.0, 0.0))))
    assert value.item() == pytest.approx((first + second) / 2, abs=1e-5)


def test_a_guide_masks_what_it_takes_for_an_answer():
    passages = np.array([[1, 0], [0, 1], [0.9, 0.1], [0, 1]], np.float32)
    guide = Guide(np.array([[0.8, 0.2], [0, 1]], np.float32), passages, margin=0.0)
    mask = PairTable([[0, 2], [1, 3]], [{0}, {1}], guide).negatives_mask(np.array([0, 1]))
    # query 0: own .8, others .2, .74, .2; query 1: own 1, passage 3 scores the same and is masked
    assert mask.tolist() == [[False, True, True, True], [True, True, False, False]]
    strict = PairTable([[0, 2], [1, 3]], [{0}, {1}], Guide(guide.queries, passages, margin=0.1))
    assert strict.negatives_mask(np.array([0, 1]))[0].tolist() == [False, False, True, True]


def test_the_separation_is_the_margin_to_the_hardest_true_negative():
    loss, _ = loss_of(PairTable([[0, 2], [1, 3]], [{0, 3}, {1}]), QUERIES, POSITIVES, NEGATIVES)
    assert loss.separation() == pytest.approx(((0.6 - 0.0) + (1.0 - 1.0)) / 2, abs=1e-6)
    assert loss.separation() is None


@pytest.mark.parametrize("mini_batch_size", [None, 1])
def test_distillation_by_hand(mini_batch_size):
    teacher = np.array([[0.0, 0.0], [4.0, 1.0]])  # the batch holds row 1 first
    loss = DistilledLoss(
        Given(),
        PairTable([[1, 3], [0, 2]], [{1}, {0}]),
        teacher,
        temperature=0.5,
        teacher_temperature=2.0,
        contrastive_share=0.25,
        mini_batch_size=mini_batch_size,
    )
    features = [{"input": c, "input_ids": torch.zeros(2, 1)} for c in (QUERIES, POSITIVES, NEGATIVES)]
    value = loss(features, torch.tensor([1, 0]))

    def divergence(wanted, given):
        wanted, given = ([math.exp(v) / sum(map(math.exp, values)) for v in values] for values in (wanted, given))
        return sum(p * math.log(p / q) for p, q in zip(wanted, given, strict=True))

    # own cosines: .6 and 0; 1 and 0. The other question's passages count in the contrastive part alone.
    distilled = (divergence((2.0, 0.5), (1.2, 0.0)) + divergence((0.0, 0.0), (2.0, 0.0))) / 2
    first = -1.2 + math.log(sum(map(math.exp, (1.2, 0.0, 0.0, 2.0))))
    second = -2.0 + math.log(sum(map(math.exp, (1.6, 2.0, 2.0, 0.0))))
    assert value.item() == pytest.approx(distilled + 0.25 * (first + second) / 2, abs=1e-5)


@pytest.mark.parametrize("mini_batch_size", [None, 1])
def test_contrastive_tension_by_hand(mini_batch_size):
    class Turned(torch.nn.Module):
        """The twin, which has learnt other vectors."""

        def __init__(self):
            super().__init__()
            self.turn = torch.nn.Parameter(torch.tensor([[0.6, 0.8], [-0.8, 0.6]]))

        def forward(self, features):
            return {"sentence_embedding": features["input"] @ self.turn}

    model, twin = Given(), Turned()
    labelled = MaskedContrastiveLoss(
        model, PairTable([[0], [1]], [{0}, {1}]), temperature=0.5, mini_batch_size=mini_batch_size
    )
    loss = TensionLoss(labelled, model, twin, share=0.25, temperature=0.5)
    further = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    features = [{"input": c, "input_ids": torch.zeros(2, 1)} for c in (QUERIES, POSITIVES, further)]
    value = loss(features, torch.arange(2))
    value.backward()
    # The two questions: cosines .6 and 0, .8 and 1, divided by .5.
    first = -1.2 + math.log(math.exp(1.2) + math.exp(0.0))
    second = -2.0 + math.log(math.exp(1.6) + math.exp(2.0))
    # The passages (1, 0) and (0, 1) with the twin's (.6, .8) and (-.8, .6): cosines .6 and -.8, .8 and .6.
    to_twins = [-1.2 + math.log(math.exp(1.2) + math.exp(-1.6)), -1.2 + math.log(math.exp(1.6) + math.exp(1.2))]
    to_passages = [-1.2 + math.log(math.exp(1.2) + math.exp(1.6)), -1.2 + math.log(math.exp(-1.6) + math.exp(1.2))]
    tension = (sum(to_twins) / 2 + sum(to_passages) / 2) / 2
    assert value.item() == pytest.approx((first + second) / 2 + 0.25 * tension, abs=1e-5)
    assert loss.separation() == pytest.approx((0.6 - 0.0 + 1.0 - 0.8) / 2, abs=1e-6)
    assert model.scale.grad is not None
    assert twin.turn.grad.abs().sum() > 0


def test_margins_are_of_cosines_whatever_the_length_of_the_vectors():
    model = Given()
    loss = MarginLoss(model)
    queries, gold, other = (torch.tensor([[x, y]]) for x, y in ((2.0, 0.0), (3.0, 0.0), (0.0, 5.0)))
    found = loss.compute_loss_from_embeddings([queries, gold, other], torch.tensor([[0.5]]))
    assert found.item() == pytest.approx((1.0 - 0.5) ** 2)
    assert loss.separation() == pytest.approx(1.0)


def test_cached_gradients_are_the_plain_ones(tiny_encoder_folder):
    from sentence_transformers import SentenceTransformer

    texts = ["the river", "old tower", "red bridge", "why does bread rise", "tern island", "the amber line"]
    table = PairTable([[0], [1], [2]], [{0}, {1}, {2}])
    gradients = []
    for mini_batch_size in (None, 2):
        model = SentenceTransformer(str(tiny_encoder_folder), device="cpu")
        model.eval()  # no dropout: the two passes must see the same model
        loss = MaskedContrastiveLoss(model, table, temperature=0.1, mini_batch_size=mini_batch_size)
        loss([model.tokenize(texts[:3]), model.tokenize(texts[3:])], torch.arange(3)).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 10
    for plain, cached in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, cached, atol=1e-5, rtol=1e-3)
