"""How well the support of answers (`rag.types.Support`) tells right answers from wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rag.evaluate.calibration import auc
from rag.evaluate.metrics import mean
from rag.evaluate.significance import RESAMPLES

LOWEST_SHARE = 0.25

# Name in the figures -> the score of a question that it is made of.
SCORES = {
    "support": "support",
    "reranker": "support_logit",
    "reader": "support_agreement",
    "best passage": "best_score",
}


def support_figures(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the support of a run's answers is worth; None where no answer with a reference was checked.

    Returns {"n", "word_for_word", "gold_in_context", "all_answers", "lowest"}. The two groups hold {"n_right",
    "n_wrong", "auc", "interval"}: AUC by score, the chance that a right answer scores above a wrong one, and the
    bootstrap interval of the support's; both None without answers of both kinds. Among all answers those to
    unanswerable questions are wrong. `best passage` is the rerank logit that questions are refused by. `lowest` says
    what refusing the quarter of answers of least support would refuse: {"n", "wrong"}, and "wrong_of_all".
    """
    checked = [row for row in scores if row.get("support") is not None and "right" in row]
    if not checked:
        return None
    lowest = sorted(checked, key=lambda row: row["support"])[: round(len(checked) * LOWEST_SHARE)]
    return {
        "n": len(checked),
        "word_for_word": mean([float(row["word_for_word"]) for row in checked]),
        "gold_in_context": _separation([row for row in checked if row.get("gold_in_context")]),
        "all_answers": _separation(checked),
        "lowest": {
            "n": len(lowest),
            "wrong": mean([float(not row["right"]) for row in lowest]),
            "wrong_of_all": mean([float(not row["right"]) for row in checked]),
        },
    }


def _separation(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    right = np.array([row["right"] for row in rows], bool)
    aucs: dict[str, float | None] = {}
    for name, key in SCORES.items():
        values = np.array([np.nan if row.get(key) is None else row[key] for row in rows], float)
        known = ~np.isnan(values)
        aucs[name] = _auc(values[known & right], values[known & ~right])
    support = np.array([row["support"] for row in rows], float)
    return {
        "n_right": int(right.sum()),
        "n_wrong": int((~right).sum()),
        "auc": aucs,
        "interval": auc_interval(support[right], support[~right]),
    }


def _auc(positives: np.ndarray, negatives: np.ndarray) -> float | None:
    return auc(positives, negatives) if len(positives) and len(negatives) else None


def auc_interval(positives: np.ndarray, negatives: np.ndarray, *, seed: int = 0) -> list[float] | None:
    """The 95 % percentile bootstrap interval of an AUC, each kind drawn by itself; None for fewer than two of one."""
    if min(len(positives), len(negatives)) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = [
        auc(rng.choice(positives, len(positives)), rng.choice(negatives, len(negatives))) for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [float(low), float(high)]
