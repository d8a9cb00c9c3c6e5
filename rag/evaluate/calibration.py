"""The refusal threshold: chosen on dev from the best rerank score of answerable and unanswerable questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CURVE_POINTS = 201


def calibrate(
    best_scores: Sequence[float],
    answerable: Sequence[bool],
    *,
    min_precision: float = 0.5,
    max_wrong_refusals: float = 0.15,
) -> dict:
    """The threshold that refuses most unanswerable questions, where enough refusals are right.

    Among thresholds whose refusals are right for at least `min_precision` of them and hit at most `max_wrong_refusals`
    of the answerable questions, the one of highest recall, then precision.


    Returns {"threshold", "curve": [{threshold, abstain_precision, abstain_recall, abstain_f1, wrong_refusals}],
    "auc", "n", "n_unanswerable"}. `threshold` is None where no threshold helps or nothing is unanswerable. AUC is the
    chance that an answerable question scores above an unanswerable one.
    """
    scores, known = np.asarray(best_scores, float), np.asarray(answerable, bool)
    summary = {"n": len(scores), "n_unanswerable": int((~known).sum()), "min_precision": min_precision}
    summary["max_wrong_refusals"] = max_wrong_refusals
    if known.all() or not known.any():
        return {"threshold": None, "curve": [], "auc": None, **summary}
    # A question without any passage scores -inf: refused at every threshold, and no threshold itself.
    finite = scores[np.isfinite(scores)]
    candidates = np.quantile(finite, np.linspace(0, 1, CURVE_POINTS)) if len(finite) else finite
    curve = [_point(scores, known, float(threshold)) for threshold in np.unique(candidates)]
    allowed = [
        p for p in curve if p["abstain_precision"] >= min_precision and p["wrong_refusals"] <= max_wrong_refusals
    ]
    best = max(allowed, key=lambda point: (point["abstain_recall"], point["abstain_precision"]), default=None)
    threshold = best["threshold"] if best and best["abstain_recall"] > 0 else None
    return {"threshold": threshold, "curve": curve, "auc": auc(scores[known], scores[~known]), **summary}


def _point(scores: np.ndarray, answerable: np.ndarray, threshold: float) -> dict:
    refused = scores < threshold
    right = int((refused & ~answerable).sum())
    precision = right / max(int(refused.sum()), 1)
    recall = right / int((~answerable).sum())
    return {
        "threshold": threshold,
        "abstain_precision": precision,
        "abstain_recall": recall,
        "abstain_f1": 2 * precision * recall / (precision + recall) if right else 0.0,
        "wrong_refusals": float((refused & answerable).sum() / answerable.sum()),
    }


def risk_coverage(scores: Sequence[float], bad: Sequence[bool], n: int, n_points: int) -> dict | None:
    """What share of the answered questions is bad, as fewer and fewer of `n` are answered, the best score first.

    Returns {"coverage", "risk", "threshold": lists of at most `n_points`, "area"}: the area under the curve over the
    coverage that it reaches, which is the mean risk there (Geifman and El-Yaniv 2017, https://arxiv.org/abs/1705.08500).
    None where nothing was scored.
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
    """The Mann-Whitney estimate of P(positive > negative), ties counted half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positives, negatives]))
    rank_sum = ranks[: len(positives)].sum() - len(positives) * (len(positives) + 1) / 2
    return float(rank_sum / (len(positives) * len(negatives)))


def threshold_at(calibration: dict, strictness: float | None) -> float | None:
    """The calibrated threshold, or with a strictness from 0 to 1 the point that far along the curve."""
    if strictness is None:
        return calibration["threshold"]
    curve = calibration["curve"]
    if strictness == 0 or not curve:
        return None
    return curve[min(int(strictness * len(curve)), len(curve) - 1)]["threshold"]
