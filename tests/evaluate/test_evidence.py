"""Logistic regression and the calibration on all evidence: closed checks, and cross-validation that is honest."""

import json
import math

import numpy as np
import pytest

from rag.evaluate.calibration import auc, calibrate
from rag.evaluate.evidence import calibrate_by, calibrate_evidence
from rag.evaluate.logistic import PENALTY, cross_validated_auc, fit_logistic, scores_of
from rag.evidence import EvidenceModel


def test_without_a_telling_feature_the_score_is_the_log_odds_of_the_labels():
    model = fit_logistic(["constant"], np.full((4, 1), 7.0), np.array([True, True, True, False]))
    assert model.bias == pytest.approx(math.log(3))
    assert model.weights == pytest.approx((0.0,))
    assert (model.mean, model.scale) == ((7.0,), (1.0,))


def test_two_separable_points_by_hand():
    """Standardised they are 1 and -1; by symmetry the bias is 0, and the weight w solves w = 2 / (1 + exp(w))."""
    model = fit_logistic(["x"], np.array([[12.0], [8.0]]), np.array([True, False]))
    assert (model.mean, model.scale) == ((10.0,), (2.0,))
    (weight,) = model.weights
    assert weight * PENALTY == pytest.approx(2 / (1 + math.exp(weight)), abs=1e-7)
    assert 0 < weight < 1
    assert model.bias == pytest.approx(0, abs=1e-7)
    assert model.score({"x": 14.0}) == pytest.approx(2 * weight)


def test_at_the_solution_the_gradient_is_zero_whatever_the_scale():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3)) * [1, 1000, 0.001] + [5, -3000, 0]
    labels = features[:, 0] - 5 + features[:, 1] / 1000 + rng.normal(size=200) > -3
    model = fit_logistic(["a", "b", "c"], features, labels)
    scaled = (features - model.mean) / model.scale
    chances = 1 / (1 + np.exp(-scores_of(model, features)))
    assert scaled.T @ (chances - labels) + PENALTY * np.array(model.weights) == pytest.approx([0, 0, 0], abs=1e-5)
    assert chances.sum() == pytest.approx(labels.sum(), abs=1e-5)  # the bias is not penalised
    by_name = [model.score(dict(zip("abc", row, strict=True))) for row in features[:5]]
    assert scores_of(model, features[:5]) == pytest.approx(by_name)


def test_separable_questions_give_finite_weights():
    model = fit_logistic(["x"], np.arange(40.0)[:, None], np.arange(40) >= 20)
    assert all(map(math.isfinite, (*model.weights, model.bias)))
    assert auc(*(scores_of(model, np.arange(lo, hi)[:, None]) for lo, hi in ((20, 40), (0, 20)))) == 1


def test_cross_validation_of_noise_finds_nothing_though_the_fit_does():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(60, 30)), np.arange(60) % 2 == 0
    fitted = scores_of(fit_logistic([""] * 30, features, labels), features)
    assert auc(fitted[labels], fitted[~labels]) > 0.9
    assert 0.3 < cross_validated_auc(features, labels) < 0.65


def test_cross_validation_of_a_perfect_feature_finds_it_and_is_the_same_each_time():
    labels = np.arange(50) % 3 == 0
    features = np.where(labels, 1.0, -1.0)[:, None]
    assert cross_validated_auc(features, labels) == 1
    noise = np.random.default_rng(2).normal(size=(50, 2))
    assert cross_validated_auc(noise, labels) == cross_validated_auc(noise, labels)


def test_one_question_of_a_kind_cannot_be_left_out():
    assert cross_validated_auc(np.arange(5.0)[:, None], np.arange(5) == 2) is None


def questions(n, *, reader):
    """Features and labels: the rerank logit tells a little, the reader's margin as `reader` says of a label."""
    rng = np.random.default_rng(3)
    labels = np.arange(n) % 4 != 0
    rerank, noise = labels + rng.normal(0, 1.5, n), rng.normal(0, 0.5, n)
    return [{"rerank": r, "reader": reader(is_one) + e} for r, is_one, e in zip(rerank, labels, noise, strict=True)], [
        bool(label) for label in labels
    ]


def test_a_reader_that_tells_more_is_kept_with_its_own_threshold_and_curve():
    features, known = questions(200, reader=lambda answerable: 4.0 if answerable else 0.0)
    result = calibrate_evidence(features, known, min_precision=0.5, max_wrong_refusals=0.15)
    alone = calibrate([found["rerank"] for found in features], known)
    assert {key: result[key] for key in alone} == alone
    kept = result["evidence"]
    assert kept["features"] == ("rerank", "reader")
    assert kept["auc"] > 0.98 > result["auc"]
    model = EvidenceModel.of(kept)
    refused = [model.score(found) < kept["threshold"] for found in features]
    point = next(p for p in kept["curve"] if p["threshold"] == kept["threshold"])
    assert point["abstain_recall"] == sum(r and not k for r, k in zip(refused, known, strict=True)) / 50
    assert point["abstain_recall"] > 0.9 > 0.15 > point["wrong_refusals"]
    compared = result["compared"]
    assert compared["auc"]["rerank"] == result["auc"]
    assert compared["auc"]["reader"] > 0.98
    assert compared["cross_validated"]["together"] > compared["cross_validated"]["rerank"]
    json.dumps(result, allow_nan=False)


def test_what_depends_on_the_documents_at_hand_is_left_out_of_what_serves_elsewhere():
    features, known = questions(200, reader=lambda answerable: 2.0 if answerable else 0.0)
    with_mean = [{**found, "reader_mean": 9.0 * label} for found, label in zip(features, known, strict=True)]
    result = calibrate_evidence(with_mean, known)
    assert result["evidence"]["features"] == ("rerank", "reader", "reader_mean")
    assert result["elsewhere"] == calibrate_evidence(features, known)["evidence"]
    assert "elsewhere" not in calibrate_evidence([{"rerank": found["rerank"]} for found in features], known)


def test_a_reader_that_tells_nothing_is_not_kept():
    features, known = questions(200, reader=lambda answerable: 0.0)
    result = calibrate_evidence(features, known, min_precision=0.5, max_wrong_refusals=0.15)
    assert "evidence" not in result
    assert result["threshold"] == calibrate([found["rerank"] for found in features], known)["threshold"]
    crossed = result["compared"]["cross_validated"]
    assert crossed["together"] <= crossed["rerank"]


def test_without_a_reader_it_is_the_calibration_on_the_rerank_logit():
    features = [{"rerank": score} for score in (4.0, 3.0, 2.0, 0.0, -1.0)] + [{}]
    known = [True, True, True, False, False, False]
    limits = {"min_precision": 0.6, "max_wrong_refusals": 0.1}
    expected = calibrate([4, 3, 2, 0, -1, -math.inf], known, **limits)
    assert calibrate_evidence(features, known, **limits) == expected


def test_a_question_without_any_passage_is_refused_at_every_point_and_fits_nothing():
    features, known = questions(100, reader=lambda answerable: 4.0 if answerable else 0.0)
    more = calibrate_evidence([*features, {}], [*known, False])
    without = calibrate_evidence(features, known)
    assert more["evidence"]["weights"] == without["evidence"]["weights"]
    lowest, before = more["evidence"]["curve"][0], without["evidence"]["curve"][0]
    assert (lowest["abstain_recall"], before["abstain_recall"]) == (pytest.approx(1 / 26), 0)
    json.dumps(more, allow_nan=False)


@pytest.mark.parametrize("kind", [True, False])
def test_questions_of_one_kind_are_not_fitted(kind):
    features = [{"rerank": 1.0, "reader": 2.0}, {"rerank": 2.0, "reader": 1.0}]
    assert calibrate_evidence(features, [kind, kind]).keys() == calibrate([1.0, 2.0], [kind, kind]).keys()


def test_a_model_that_was_fitted_elsewhere_is_kept_as_it_is():
    model = EvidenceModel(("rerank", "reader"), (0.0, 1.0), (1.0, 2.0), (1.0, -2.0), 0.5)
    features, known = [{"rerank": 3.0, "reader": 5.0}, {"rerank": 1.0, "reader": -3.0}, {}], [False, True, False]
    made = calibrate_by(model, features, known)
    assert made["evidence"]["weights"] == (1.0, -2.0)
    assert (made["auc"], made["evidence"]["auc"]) == (0.5, 1.0)  # by rerank 3, 1 and none; by evidence -.5, 5.5, none
    assert -0.5 < made["evidence"]["threshold"] <= 5.5
    alone = calibrate([3.0, 1.0, -math.inf], known)
    assert calibrate_by(None, features, known) == alone
    assert made["threshold"] == alone["threshold"]
