"""The refusal threshold: chosen on dev from the best rerank score of answerable and unanswerable questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CURVE_POINTS = 201


def calibrate(
    best_scores: Sequence[float],
    answerable: Sequence[bool],
    *,
    min_precision: float = 0.5,
    max_wrong_refusals: float = 0.15,
    unanswerable_share: float | None = None,
) -> dict[str, Any]:
    """The refusal threshold that catches most unanswerable questions within two limits, and the whole curve.

    Takes the best rerank score of each question, and whether it is answerable. The threshold is the one of highest
    recall, then precision, among those where at least `min_precision` of the refusals are right and at most
    `max_wrong_refusals` of the answerable questions are refused.

    Questions that were made are told apart more easily than people's. What people ask scores nearer to the middle, on
    both sides, and other shares of it are unanswerable: `unanswerable_share`, by which precision counts then. Among the
    thresholds within the limits it is then the one nearest to the middle between the medians of both kinds.

    Returns {"threshold", "curve": [{threshold, abstain_precision, abstain_recall, abstain_f1, wrong_refusals}],
    "auc", "n", "n_unanswerable", the two limits, and the share where it is given}. `threshold` is None where no
    threshold helps or where all questions are of one kind. AUC is the chance that an answerable question scores above
    an unanswerable one.
    """
    scores = np.asarray(best_scores, float)
    known = np.asarray(answerable, bool)
    summary = {
        "n": len(scores),
        "n_unanswerable": int((~known).sum()),
        "min_precision": min_precision,
        "max_wrong_refusals": max_wrong_refusals,
        **({} if unanswerable_share is None else {"unanswerable_share": unanswerable_share}),
    }
    if known.all() or not known.any():
        return {"threshold": None, "curve": [], "auc": None, **summary}
    # A question without any passage scores -inf. It is refused at every threshold, and is no threshold itself.
    finite = scores[np.isfinite(scores)]
    candidates = np.quantile(finite, np.linspace(0, 1, CURVE_POINTS)) if len(finite) else finite
    weight = 1.0
    if unanswerable_share is not None:
        weight = unanswerable_share / (1 - unanswerable_share) * float(known.sum() / (~known).sum())
    curve = [_point(scores, known, float(threshold), weight) for threshold in np.unique(candidates)]
    allowed = [
        point
        for point in curve
        if point["abstain_precision"] >= min_precision and point["wrong_refusals"] <= max_wrong_refusals
    ]
    best = max(allowed, key=lambda point: (point["abstain_recall"], point["abstain_precision"]), default=None)
    if best and unanswerable_share is not None:
        middle = (np.median(scores[known]) + np.median(scores[~known])) / 2
        best = min(allowed, key=lambda point: abs(point["threshold"] - middle))
    threshold = best["threshold"] if best and best["abstain_recall"] > 0 else None
    return {"threshold": threshold, "curve": curve, "auc": auc(scores[known], scores[~known]), **summary}


def _point(scores: np.ndarray, answerable: np.ndarray, threshold: float, weight: float) -> dict[str, float]:
    """A point of the curve; each unanswerable question counts as `weight` answerable ones in the precision."""
    refused = scores < threshold
    right, wrong = int((refused & ~answerable).sum()), int((refused & answerable).sum())
    precision = weight * right / (weight * right + wrong) if right else 0.0
    recall = right / int((~answerable).sum())
    return {
        "threshold": threshold,
        "abstain_precision": precision,
        "abstain_recall": recall,
        "abstain_f1": 2 * precision * recall / (precision + recall) if right else 0.0,
        "wrong_refusals": wrong / int(answerable.sum()),
    }


def risk_coverage(scores: Sequence[float], bad: Sequence[bool], n: int, n_points: int) -> dict[str, Any] | None:
    """The risk-coverage curve: the share of bad answers if only the questions of highest score were answered.

    `scores` and `bad` have one entry per question that has a score; `n` is the number of all questions. Coverage is
    the answered share of `n`. Returns {"coverage", "risk", "threshold", "area"}: three lists of at most `n_points`, and
    the mean risk over the coverage that the curve reaches (Geifman and El-Yaniv 2017,
    https://arxiv.org/abs/1705.08500). None where no question has a score.
    """
    if not len(scores):
        return None
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    risks = np.cumsum(np.asarray(bad, float)[order]) / np.arange(1, len(order) + 1)
    shown = np.unique(np.linspace(0, len(order) - 1, min(n_points, len(order))).round().astype(int))
    return {
        "coverage": ((shown + 1) / n).round(4).tolist(),
        "risk": risks[shown].round(4).tolist(),
        "threshold": np.asarray(scores, float)[order][shown].round(4).tolist(),
        "area": float(risks.mean()),
    }


def auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The chance that a positive scores above a negative, ties counted half (Mann-Whitney); both are (n,) scores."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positives, negatives]))
    rank_sum = ranks[: len(positives)].sum() - len(positives) * (len(positives) + 1) / 2
    return float(rank_sum / (len(positives) * len(negatives)))


def threshold_at(calibration: Mapping[str, Any], strictness: float | None) -> float | None:
    """The threshold of a calibration; with a strictness from 0 to 1, the point that far along its curve.

    Strictness 0 refuses nothing, which is None.
    """
    if strictness is None:
        return calibration["threshold"]
    curve = calibration["curve"]
    if strictness == 0 or not curve:
        return None
    return curve[min(int(strictness * len(curve)), len(curve) - 1)]["threshold"]
