"""The refusal threshold, worked by hand."""

import json
import math

import numpy as np
import pytest

from rag.evaluate.calibration import auc, calibrate, risk_coverage, threshold_at

ANSWERABLE, UNANSWERABLE = True, False


def test_separable_scores_get_a_threshold_that_errs_nowhere():
    result = calibrate([4, 3, 2, 0, -1, -2], [ANSWERABLE] * 3 + [UNANSWERABLE] * 3)
    assert 0 < result["threshold"] <= 2
    assert result["auc"] == 1.0
    assert (result["n"], result["n_unanswerable"]) == (6, 3)
    point = next(p for p in result["curve"] if p["threshold"] == result["threshold"])
    assert (point["abstain_precision"], point["abstain_recall"], point["abstain_f1"]) == (1, 1, 1)
    assert point["wrong_refusals"] == 0


def test_the_curve_by_hand():
    # Sorted: -1 u, 0 a, 1 u, 2 a. Just above 1, three are refused, two of them rightly; one of two answerable is lost.
    result = calibrate([-1, 0, 1, 2], [UNANSWERABLE, ANSWERABLE, UNANSWERABLE, ANSWERABLE], max_wrong_refusals=0.5)
    above_one = next(p for p in result["curve"] if p["threshold"] > 1 + 1e-9)
    assert above_one["abstain_precision"] == pytest.approx(2 / 3)
    assert above_one["abstain_recall"] == 1
    assert above_one["abstain_f1"] == pytest.approx(0.8)
    assert above_one["wrong_refusals"] == 0.5
    lowest = result["curve"][0]
    assert lowest["threshold"] == -1
    assert lowest["abstain_f1"] == lowest["wrong_refusals"] == lowest["abstain_recall"] == 0
    assert 1 < result["threshold"] <= 2
    assert result["auc"] == 0.75


def test_the_limit_on_wrong_refusals_lowers_the_threshold():
    result = calibrate([-1, 0, 1, 2], [UNANSWERABLE, ANSWERABLE, UNANSWERABLE, ANSWERABLE], max_wrong_refusals=0.1)
    assert -1 < result["threshold"] <= 0
    point = next(p for p in result["curve"] if p["threshold"] == result["threshold"])
    assert point["abstain_f1"] == pytest.approx(2 / 3)
    assert point["wrong_refusals"] == 0
    assert result["max_wrong_refusals"] == 0.1


def test_precision_counts_the_share_of_unanswerable_questions_that_is_expected():
    scores, known = [-2, 0, -1, 1, 2, 3], [UNANSWERABLE] * 2 + [ANSWERABLE] * 4
    as_they_are = calibrate(scores, known, min_precision=0.6, max_wrong_refusals=0.3)
    assert 0 < as_they_are["threshold"] <= 1  # -2, 0 and -1 are refused: 2 of 3 rightly
    assert "unanswerable_share" not in as_they_are
    expected = calibrate(scores, known, min_precision=0.6, max_wrong_refusals=0.3, unanswerable_share=0.2)
    assert -2 < expected["threshold"] <= -1  # -2 alone: refusing 0 and -1 as well, half are right
    assert expected["unanswerable_share"] == 0.2
    # Refused between -1 and 0: half of the unanswerable and a quarter of the others, .2 * .5 / (.2 * .5 + .8 * .25).
    point = next(point for point in expected["curve"] if -1 < point["threshold"] <= 0)
    assert point["abstain_precision"] == pytest.approx(1 / 3)
    assert (point["abstain_recall"], point["wrong_refusals"]) == (0.5, 0.25)


def test_of_made_questions_the_threshold_lies_in_the_middle_within_the_limits():
    scores, known = [-4, -2, 0, 7, 8, 9, 10], [UNANSWERABLE] * 3 + [ANSWERABLE] * 4
    made = calibrate(scores, known, unanswerable_share=0.2)
    assert made["threshold"] == pytest.approx((-2 + 8.5) / 2, abs=0.15)  # points of the curve lie .21 apart there
    assert calibrate(scores, known)["threshold"] > 0
    assert calibrate(scores, known, min_precision=1.0, unanswerable_share=0.2)["threshold"] == made["threshold"]
    # Where the middle would refuse too many, the nearest threshold that does not.
    mixed = [*scores, 3.0, 1.0], [*known, ANSWERABLE, ANSWERABLE]
    assert 1 < calibrate(*mixed, max_wrong_refusals=1, unanswerable_share=0.2)["threshold"] <= 3
    assert 0 < calibrate(*mixed, max_wrong_refusals=0, unanswerable_share=0.2)["threshold"] <= 1


def test_no_threshold_where_none_helps_within_the_limit():
    result = calibrate([3, 2, 1, 0], [UNANSWERABLE, UNANSWERABLE, ANSWERABLE, ANSWERABLE], max_wrong_refusals=0.1)
    assert result["threshold"] is None
    assert result["auc"] == 0
    assert result["curve"]


@pytest.mark.parametrize("kind", [ANSWERABLE, UNANSWERABLE])
def test_questions_of_one_kind_give_no_threshold(kind):
    result = calibrate([1.0, 2.0], [kind, kind])
    assert result["threshold"] is result["auc"] is None
    assert result["curve"] == []
    assert (result["n"], result["n_unanswerable"]) == (2, 0 if kind else 2)


def test_a_question_without_any_passage_scores_minus_infinity_and_leaves_the_curve_finite():
    result = calibrate([-math.inf, -1, 2, 3], [UNANSWERABLE, UNANSWERABLE, ANSWERABLE, ANSWERABLE])
    assert -1 < result["threshold"] <= 2
    assert all(math.isfinite(value) for point in result["curve"] for value in point.values())
    assert result["auc"] == 1
    json.dumps(result, allow_nan=False)


def test_no_threshold_where_no_question_has_a_passage():
    result = calibrate([-math.inf, -math.inf], [UNANSWERABLE, ANSWERABLE])
    assert result["threshold"] is None
    assert result["curve"] == []


def test_the_curve_rises_in_threshold_recall_and_wrong_refusals():
    rng = np.random.default_rng(0)
    known = rng.random(300) < 0.6
    result = calibrate(np.where(known, 1.0, -1.0) + rng.normal(0, 1.5, 300), known)
    for key in ("threshold", "abstain_recall", "wrong_refusals"):
        values = [point[key] for point in result["curve"]]
        assert values == sorted(values), key
    allowed = [p for p in result["curve"] if p["wrong_refusals"] <= 0.15 and p["abstain_precision"] >= 0.5]
    best = max(point["abstain_recall"] for point in allowed)
    chosen = next(p for p in result["curve"] if p["threshold"] == result["threshold"])
    assert chosen in allowed
    assert chosen["abstain_recall"] == best
    assert result["threshold"] != max(point["threshold"] for point in result["curve"])
    assert 0.7 < result["auc"] < 0.95
    json.dumps(result, allow_nan=False)


def test_auc_counts_pairs_and_ties_half():
    # Pairs: 3>2, 3>1, 1<2, 1=1: 2.5 of 4.
    assert auc(np.array([3.0, 1.0]), np.array([2.0, 1.0])) == pytest.approx(2.5 / 4)


def test_strictness_walks_along_the_curve():
    calibration = {"threshold": 0.5, "curve": [{"threshold": float(n)} for n in range(10)]}
    assert threshold_at(calibration, None) == 0.5
    assert threshold_at(calibration, 0) is None
    assert threshold_at(calibration, 0.5) == 5.0
    assert threshold_at(calibration, 1) == 9.0
    assert threshold_at(calibration, 0.01) == 0.0


def test_strictness_without_a_curve_refuses_nothing():
    assert threshold_at({"threshold": None, "curve": []}, 0.7) is None
    assert threshold_at({"threshold": None, "curve": []}, None) is None


def test_a_threshold_whose_refusals_are_mostly_wrong_is_not_taken():
    # Refusing below 3 would catch the second unanswerable question too, at a precision of 2 in 4.
    scores = [0, 1, 1.5, 2, 3, 4, 5, 6, 7, 8]
    known = [UNANSWERABLE, ANSWERABLE, ANSWERABLE, UNANSWERABLE, *[ANSWERABLE] * 6]
    strict = calibrate(scores, known, min_precision=0.6, max_wrong_refusals=1)
    loose = calibrate(scores, known, min_precision=0.5, max_wrong_refusals=1)
    assert strict["threshold"] <= 1 < 2 < loose["threshold"] <= 3


def test_risk_by_coverage_by_hand():
    """Best scores first: right, wrong, right; a fourth question was never answered."""
    curve = risk_coverage([1.0, 3.0, 2.0], [False, False, True], 4, 10)
    assert curve["coverage"] == [0.25, 0.5, 0.75]
    assert curve["risk"] == [0, 0.5, pytest.approx(1 / 3, abs=1e-4)]
    assert curve["threshold"] == [3, 2, 1]
    assert curve["area"] == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    assert risk_coverage([], [], 4, 10) is None
    assert len(risk_coverage(range(1000), [True] * 1000, 1000, 50)["risk"]) == 50
