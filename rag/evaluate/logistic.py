"""Logistic regression over a few features, and how well it ranks questions that it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.evaluate.calibration import auc
from rag.evidence import EvidenceModel

PENALTY = 1.0
"""Of half the squared weights, beside the sum of the losses: as much as one question's loss."""
MAX_STEPS = 100
FOLDS, REPEATS = 5, 5


def fit_logistic(names: Sequence[str], features: np.ndarray, labels: np.ndarray) -> EvidenceModel:
    """The logistic model of finite `features` (n, d), by name, for `labels` (n,) bool: penalised maximum likelihood.

    Features are standardised, their weights penalised (L2) and the bias is not. Found by Newton's method, whose steps
    are halved until the loss falls.
    """
    from scipy.special import expit

    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    design = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    penalty = np.full(design.shape[1], PENALTY)
    penalty[0] = 0.0

    def loss(weights: np.ndarray) -> float:
        logits = np.where(labels, 1, -1) * (design @ weights)
        return float(np.logaddexp(0, -logits).sum() + (penalty * weights**2).sum() / 2)

    weights = np.zeros(design.shape[1])
    for _ in range(MAX_STEPS):
        chances = expit(design @ weights)
        gradient = design.T @ (chances - labels) + penalty * weights
        curvature = (design.T * (chances * (1 - chances))) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
        size = 1.0
        while loss(weights - size * step) > loss(weights) and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if np.abs(gradient).max() < 1e-8:
            break
    bias, *others = weights.tolist()
    return EvidenceModel(tuple(names), tuple(mean.tolist()), tuple(scale.tolist()), tuple(others), bias)


def scores_of(model: EvidenceModel, features: np.ndarray) -> np.ndarray:
    """(n,) logits of the model for features (n, d) in the order of its names."""
    scaled = (features - np.array(model.mean)) / np.array(model.scale)
    return model.bias + scaled @ np.array(model.weights)


def cross_validated_auc(features: np.ndarray, labels: np.ndarray) -> float | None:
    """The mean AUC of logistic models of `features` (n, d) on questions that each was not fitted to.

    Five folds that keep the shares of both labels, drawn five times over with fixed seeds: other features of the same
    questions are compared on the same folds. None where a label has fewer than two questions.
    """
    n_folds = min(FOLDS, int(labels.sum()), int((~labels).sum()))
    if n_folds < 2:
        return None
    areas = []
    for seed in range(REPEATS):
        fold = _folds(labels, n_folds, seed)
        for held_out in range(n_folds):
            is_out = fold == held_out
            model = fit_logistic([""] * features.shape[1], features[~is_out], labels[~is_out])
            scores, known = scores_of(model, features[is_out]), labels[is_out]
            areas.append(auc(scores[known], scores[~known]))
    return float(np.mean(areas))


def _folds(labels: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """(n,) the fold of each question, drawn for each label by itself."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(labels), int)
    for label in (True, False):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fold[rows] = np.arange(len(rows)) % n_folds
    return fold
