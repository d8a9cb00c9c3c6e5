"""The span reader's loss, its figures on dev, and the order of its batches, by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.train.plain_trainer import LikeLengthSampler
from rag.train.reader_dev import JudgedRow, Read, figures_of, judged_rows, scores_with_null
from rag.train.reader_loss import SpanLoss, span_loss, words_divergence
from rag.types import CANNOTANSWER, Hit, Passage

NAN = float("nan")

START = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0, 100.0]]).log()
END = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 2.0, 100.0]]).log()
BATCH = {
    "input_ids": torch.zeros(2, 4, dtype=torch.long),
    "token_type_ids": torch.zeros(2, 4, dtype=torch.long),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
    "starts": torch.tensor([[False, True, False, True], [True, False, False, False]]),
    "ends": torch.tensor([[False, False, True, False], [True, False, False, False]]),
}


def test_the_loss_by_hand():
    # p(start) .2 + .4 = .6, p(end) .2; in the null row both .25, as the padding is no choice
    expected = (-(math.log(0.6) + math.log(0.2)) / 2 - math.log(0.25)) / 2
    found = span_loss(START, END, BATCH["starts"], BATCH["ends"], BATCH["attention_mask"])
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_the_loss_has_finite_gradients_and_none_on_the_padding():
    start = START.clone().requires_grad_()
    span_loss(start, END, BATCH["starts"], BATCH["ends"], BATCH["attention_mask"]).backward()
    # a quarter of p - (p of the right ones, normed): a null row's first token, .25 - 1
    assert start.grad[1].tolist() == pytest.approx([-0.75 / 4, 0.25 / 4, 0.5 / 4, 0.0], abs=1e-6)
    assert start.grad[0].tolist() == pytest.approx([0.1 / 4, (0.2 - 1 / 3) / 4, 0.3 / 4, (0.4 - 2 / 3) / 4], abs=1e-6)


def test_the_separation_while_training_by_hand():
    loss = SpanLoss()
    assert loss.separation() is None
    given = []

    def model(**inputs):
        given.append(sorted(inputs))
        return SimpleNamespace(start_logits=START, end_logits=END)

    assert loss(model, BATCH).item() == pytest.approx(
        span_loss(START, END, BATCH["starts"], BATCH["ends"], BATCH["attention_mask"]).item()
    )
    assert given == [["attention_mask", "input_ids", "token_type_ids"]]
    # the row with an answer: ln 4/1 + ln 3/4; the null row: ln 2/1 twice, without its padding
    assert loss.separation() == pytest.approx(math.log(3) - math.log(4), abs=1e-5)
    assert loss.separation() is None


def test_scores_with_null_take_the_best_threshold():
    margins = np.array([3.0, 1.0, 2.0, 0.0])
    f1, is_null = np.array([1.0, 0.5, 0.0, 0.0]), np.array([False, False, True, True])
    # from 3.0 on: 1, 0, 1, 1; from 1.0 on: 1, .5, 0, 1; from above 3.0 on: 0, 0, 1, 1
    assert scores_with_null(margins, f1, is_null).tolist() == [1.0, 0.0, 1.0, 1.0]
    # where null says nothing, nothing but the share of null rows is left
    assert scores_with_null(np.zeros(4), f1, is_null).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert scores_with_null(np.zeros(2), np.array([1.0, 0.5]), np.array([False, False])).tolist() == [1.0, 0.5]


def test_a_margin_that_is_not_a_number_scores_nothing():
    f1, is_null = np.array([1.0, 1.0, 0.0]), np.array([False, False, True])
    assert scores_with_null(np.array([NAN, 1.0, NAN]), f1, is_null).tolist() == [0.0, 1.0, 0.0]
    assert scores_with_null(np.full(3, NAN), f1, is_null).tolist() == [0.0, 0.0, 0.0]


def row(qid, *answers):
    return JudgedRow(qid, "who", Passage(f"{qid}@0", "the tower in graz"), answers)


def test_figures_on_dev_by_hand():
    rows = [row("a", "graz"), row("b", "old tower"), row("c"), row("d")]
    read = [Read("Graz", 4.0), Read("the tower in graz", 2.0), Read("tower", 3.0), Read("in", 1.0)]
    found = figures_of(rows, read)
    assert found["exact_match"] == 0.5
    # "tower in graz" against "old tower": one of three, one of two
    f1 = 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2)
    assert found["f1"] == pytest.approx((1 + f1) / 2)
    assert found["f1_with_null"] == pytest.approx(3 / 4)
    assert found["refusal_auc"] == 3 / 4
    assert found["separation"] == pytest.approx(3.0 - 2.0)
    assert found["spread"] == pytest.approx(math.sqrt(5) / 2)
    assert set(figures_of(rows[:2], read[:2])) == {"f1_with_null", "f1", "exact_match"}


def test_judged_rows_are_a_passage_with_the_answer_and_some_without():
    corpus = Corpus(
        [
            Passage("silent@0", "a tower", "graz"),  # in the title alone
            Passage("gold@0", "it is in graz"),
            Passage("holds@0", "graz is a city"),
            Passage("null@0", "the lake"),
            Passage("null@1", "the river"),
        ]
    )
    hits = [Hit(passage, 1.0) for passage in corpus]
    known = Example(Question("q", "", "where", "Graz", ("city",)), ("silent@0", "gold@0"), ("null@1",))
    nobody = Example(Question("u", "", "where", CANNOTANSWER), (), ("null@1",))
    rows = judged_rows([known, nobody], [hits, hits], corpus, 1)
    assert [(one.qid, one.passage.id, one.answers) for one in rows] == [
        ("q", "gold@0", ("Graz", "city")),
        ("q", "null@0", ()),
        ("u", "null@1", ()),
    ]
    assert [one.passage.id for one in judged_rows([nobody], [hits], corpus, 2)] == ["null@1", "silent@0"]


@pytest.mark.parametrize("n", [1, 7, 8, 331])
def test_every_row_comes_once_in_batches_of_like_length(n):
    lengths = [(7 * row) % 100 for row in range(n)]
    sampler = LikeLengthSampler(lengths, 4, seed=0)
    order = list(sampler)
    assert sorted(order) == list(range(n))
    assert list(sampler) == order  # the same again, for a run that goes on
    sampler.set_epoch(1)
    assert n < 9 or list(sampler) != order
    if n == 331:
        batches = [[lengths[row] for row in order[k : k + 4]] for k in range(0, n, 4)]
        assert np.mean([max(own) - min(own) for own in batches]) < 5  # at random about 60


def test_the_divergence_among_words_by_hand():
    mask = BATCH["attention_mask"]
    other = torch.tensor([[9.0, 1.0, 1.0, 2.0], [1.0, 3.0, 1.0, 5.0]]).log()
    # Shares of words: 2/9 3/9 4/9 where 1/4 1/4 2/4 is kept, 1/3 2/3 where 3/4 1/4 is; null and padding are nothing.
    first = 0.25 * math.log(0.25 / (2 / 9)) + 0.25 * math.log(0.25 / (3 / 9)) + 0.5 * math.log(0.5 / (4 / 9))
    second = 0.75 * math.log(0.75 * 3) + 0.25 * math.log(0.25 * 3 / 2)
    assert words_divergence(START, other, mask).item() == pytest.approx((first + second) / 2, abs=1e-5)
    moved = START + torch.tensor([[5.0, 0, 0, 0], [-3.0, 0, 0, 7.0]])
    assert words_divergence(START, moved, mask).item() == pytest.approx(0.0, abs=1e-6)


def test_what_is_kept_is_added_to_the_loss_by_its_weight():
    def model(**inputs):
        return SimpleNamespace(start_logits=START, end_logits=END)

    class Kept(torch.nn.Module):
        def forward(self, **inputs):
            return SimpleNamespace(start_logits=END, end_logits=END)

    alone = SpanLoss()(model, BATCH).item()
    apart = words_divergence(START, END, BATCH["attention_mask"]).item()
    assert apart > 0.01
    assert SpanLoss(Kept(), 3.0)(model, BATCH).item() == pytest.approx(alone + 3 * apart / 2, abs=1e-5)
