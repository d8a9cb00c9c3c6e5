"""Calibrating on all evidence: a logistic model, kept where it ranks new questions better than the rerank logit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rag.evaluate.calibration import auc, calibrate
from rag.evaluate.logistic import cross_validated_auc, fit_logistic, scores_of
from rag.evidence import CARRIES_OVER, RERANK, EvidenceModel


def calibrate_evidence(
    features: Sequence[Mapping[str, float]], answerable: Sequence[bool], **limits: float
) -> dict[str, Any]:
    """The refusal threshold by the rerank logit alone, and by all evidence where that is better.

    `features` are those of each question (`rag.evidence.features_of`): {} for one without a passage. `limits` are those
    of `calibrate`, whose record this returns for the rerank logit. Where the questions have other features too, it
    holds

        "compared": {"auc": {feature: AUC of it alone}, "auc_together", "cross_validated": {"rerank", "together"}}
        "evidence": the model (features, mean, scale, weights, bias), its own threshold and curve, and its AUC
        "elsewhere": the same of the features that carry over to other documents alone (`rag.evidence.CARRIES_OVER`)

    The second is there only if the model's cross-validated AUC is above that of the rerank logit on the same folds. A
    model is fitted to the questions that its own AUC is measured on, so that one proves nothing.
    """
    known = np.asarray(answerable, bool)
    result = calibrate(_rerank(features), answerable, **limits)
    has_passage = np.array([RERANK in found for found in features], bool)
    names = sorted({name for found in features for name in found}, key=lambda name: (name != RERANK, name))
    labels = known[has_passage]
    if len(names) < 2 or labels.all() or not labels.any():
        return result
    table = np.array([[found[name] for name in names] for found in features if found], float)  # (questions, features)

    def fitted(chosen: Sequence[int]) -> tuple[EvidenceModel, np.ndarray]:
        """The model of these columns, and its score of every question."""
        model = fit_logistic([names[n] for n in chosen], table[:, chosen], labels)
        scores = np.full(len(known), -np.inf)
        scores[has_passage] = scores_of(model, table[:, chosen])
        return model, scores

    model, scores = fitted(range(len(names)))
    rerank_alone, together = cross_validated_auc(table[:, :1], labels), cross_validated_auc(table, labels)
    result["compared"] = {
        "auc": {name: auc(table[labels, n], table[~labels, n]) for n, name in enumerate(names)},
        "auc_together": auc(scores[has_passage][labels], scores[has_passage][~labels]),
        "cross_validated": {RERANK: rerank_alone, "together": together},
    }
    if rerank_alone is not None and together is not None and together > rerank_alone:
        result["evidence"] = _evidence(model, scores.tolist(), answerable, limits)
    if set(CARRIES_OVER) <= set(names):
        model, scores = fitted([names.index(name) for name in CARRIES_OVER])
        result["elsewhere"] = _evidence(model, scores.tolist(), answerable, limits)
    return result


def calibrate_by(
    model: EvidenceModel | None,
    features: Sequence[Mapping[str, float]],
    answerable: Sequence[bool],
    **limits: float,
) -> dict[str, Any]:
    """As `calibrate_evidence`, with a model that was fitted to other questions; None: by the rerank logit alone.

    For questions that were made: what tells them apart need not tell people's apart, so no model is fitted to them.
    """
    result = calibrate(_rerank(features), answerable, **limits)
    if model is not None:
        scores = [model.score(found) if found else float("-inf") for found in features]
        result["evidence"] = _evidence(model, scores, answerable, limits)
    return result


def _rerank(features: Sequence[Mapping[str, float]]) -> list[float]:
    return [found.get(RERANK, float("-inf")) for found in features]


def _evidence(
    model: EvidenceModel, scores: Sequence[float], answerable: Sequence[bool], limits: Mapping[str, float]
) -> dict[str, Any]:
    """A model with the threshold that the scores by it give."""
    chosen = calibrate(scores, answerable, **limits)
    return {**dataclasses.asdict(model), **{key: chosen[key] for key in ("threshold", "curve", "auc")}}
