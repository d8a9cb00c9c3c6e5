"""The gate: what may serve, and the floor that shuffling gives."""

import itertools
from statistics import mean

import numpy as np
import pytest

from rag.evaluate.metrics import shuffle_floor
from rag.evaluate.verdict import KEEP_BASE, PROMOTE, gate, gate_lines, refusal_figures, with_refusals


def scores(mrr, recall=None):
    return {"mrr@10": list(mrr), "recall@10": list(recall if recall is not None else mrr)}


BASE = scores(np.random.default_rng(0).choice([0.0, 0.25, 0.5, 1.0], 300))
BETTER = scores(np.minimum(np.array(BASE["mrr@10"]) + 0.2, 1.0))


def verdict(tuned, base=BASE, floor=0.01):
    return gate(tuned, base, primary="mrr@10", floor=floor)


def test_a_model_that_is_better_on_most_questions_is_promoted():
    record = verdict(BETTER)
    assert record["verdict"] == PROMOTE
    assert record["reasons"] == []
    assert record["metrics"]["mrr@10"]["interval"]["low"] > 0
    assert gate_lines(record)[0] == "PROMOTE"


def test_a_copy_of_the_base_is_kept_out():
    record = verdict(BASE)
    assert record["verdict"] == KEEP_BASE
    assert "does not lie above zero" in record["reasons"][0]
    assert gate_lines(record)[:2] == ["KEEP BASE", f"  {record['reasons'][0]}"]


def test_an_inverted_scorer_is_kept_out():
    assert verdict(scores(1 - np.array(BASE["mrr@10"])))["verdict"] == KEEP_BASE


def test_a_constant_scorer_is_kept_out():
    assert verdict(scores([0.1] * 300))["verdict"] == KEEP_BASE


def test_a_gain_in_one_metric_does_not_pay_for_a_loss_in_another():
    worse_recall = {**BETTER, "recall@10": [0.0] * 300}
    record = verdict(worse_recall)
    assert record["verdict"] == KEEP_BASE
    assert record["reasons"] == ["recall@10 falls"]


def test_a_gain_that_chance_explains_is_kept_out():
    few = scores([1.0, 0.5, 0.0]), scores([0.5, 0.5, 0.0])
    assert verdict(*few)["verdict"] == KEEP_BASE


def test_a_model_below_the_floor_is_kept_out():
    assert verdict(BETTER, floor=0.99)["reasons"] == ["mrr@10 is no better than shuffling (0.990)"]


@pytest.mark.parametrize(("n", "relevant", "k"), [(5, 1, 10), (6, 2, 10), (6, 2, 2), (4, 4, 10), (7, 3, 1)])
def test_the_floor_is_the_mean_over_every_order(n, relevant, k):
    def reciprocal_rank(places):
        first = min(places) + 1
        return 1 / first if first <= k else 0.0

    every_order = itertools.combinations(range(n), relevant)
    assert shuffle_floor(n, relevant, k) == pytest.approx(mean(reciprocal_rank(places) for places in every_order))


def test_nothing_relevant_gives_nothing():
    assert shuffle_floor(50, 0) == 0.0


def test_sources_are_told_apart_and_a_fall_of_one_is_told():
    sources = ["nq"] * 200 + ["squad"] * 100
    tuned = scores([*np.minimum(np.array(BASE["mrr@10"][:200]) + 0.2, 1.0), *[0.0] * 100])
    record = gate(tuned, BASE, primary="mrr@10", floor=0.01, sources=sources)
    squad = record["by_source"]["squad"]["mrr@10"]
    assert squad["n"] == 100
    assert squad["tuned"] == 0.0
    assert squad["base"] == pytest.approx(mean(BASE["mrr@10"][200:]))
    falls = [line for line in gate_lines(record) if "falls on" in line]
    assert len(falls) == 1
    assert "falls on squad" in falls[0]


def test_how_well_best_scores_tell_unanswerable_questions_by_hand():
    base = [1.0, 2.0, 3.0, 2.5, 0.0]  # three answerable, two unanswerable: 4 of 6 pairs in order
    tuned = [5.0, 6.0, 7.0, -1.0, -2.0]
    found = refusal_figures(tuned, base, 3)
    assert (found["base"], found["tuned"]) == (pytest.approx(4 / 6), 1.0)
    assert found["difference"] == pytest.approx(2 / 6)
    assert found["interval"]["low"] <= 2 / 6 <= found["interval"]["high"]
    assert (found["n_answerable"], found["n_unanswerable"]) == (3, 2)
    lines = gate_lines({**verdict(BETTER), "refusals": found})
    assert "AUC 0.6667 -> 1.0000" in lines[-1]


def test_the_interval_for_refusals_covers_zero_for_a_copy_and_not_for_a_better_model():
    rng = np.random.default_rng(0)
    base = np.concatenate([rng.normal(0.5, 1, 200), rng.normal(0, 1, 100)])
    better = np.concatenate([rng.normal(2, 1, 200), rng.normal(0, 1, 100)])
    assert refusal_figures(base, base, 200)["interval"] == {"low": 0.0, "high": 0.0}
    assert refusal_figures(better, base, 200)["interval"]["low"] > 0


def test_a_metric_may_say_nothing_of_some_questions():
    tuned = {"mrr@10": BETTER["mrr@10"], "f1": [1.0, None, 0.5] + [None] * 297}
    base = {"mrr@10": BASE["mrr@10"], "f1": [0.5, None, 0.5] + [None] * 297}
    record = gate(tuned, base, primary="mrr@10", floor=0.01, sources=["a"] * 2 + ["b"] * 298)
    assert record["verdict"] == PROMOTE
    assert (record["metrics"]["f1"]["n"], record["metrics"]["f1"]["tuned"]) == (2, 0.75)
    assert record["by_source"]["a"]["f1"]["difference"] == 0.5
    assert record["by_source"]["b"]["f1"]["n"] == 1


def test_what_the_floor_is_stands_in_the_verdict():
    record = gate(BETTER, BASE, primary="mrr@10", floor=0.99, floor_name="null everywhere")
    assert record["reasons"] == ["mrr@10 is no better than null everywhere (0.990)"]
    assert "  null everywhere gives 0.9900" in gate_lines(record)
    of_an_older_run = {name: value for name, value in verdict(BETTER).items() if name != "floor_name"}
    assert "  shuffling gives 0.0100" in gate_lines(of_an_older_run)


def test_refusals_decide_where_they_are_to():
    good, bad = [3.0, 2.0] * 20 + [1.0, 0.0] * 20, [0.0, 1.0] * 20 + [2.0, 3.0] * 20
    record = with_refusals(verdict(BETTER), refusal_figures(bad, good, 40), "silence")
    assert (record["verdict"], record["reasons"]) == (KEEP_BASE, ["separating silence falls"])
    record = with_refusals(verdict(BETTER), refusal_figures(good, bad, 40), "silence")
    assert (record["verdict"], record["reasons"]) == (PROMOTE, [])
    line = next(line for line in gate_lines(record) if "AUC" in line)
    assert line.startswith("  separating silence: AUC 0.0000 -> 1.0000")
    assert "does not decide" not in line
    # A better separation is no reason by itself.
    assert with_refusals(verdict(BASE), refusal_figures(good, bad, 40), "silence")["verdict"] == KEEP_BASE
