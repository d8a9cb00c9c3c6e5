"""The promotion gate: a tuned model may serve only if a paired test on held-out questions shows that it is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from rag.evaluate.calibration import auc
from rag.evaluate.significance import RESAMPLES, Interval, paired_difference

GATE_FILE = "gate.json"
GATE_QUESTIONS_FILE = "gate-questions.jsonl"
PROMOTE = "PROMOTE"
KEEP_BASE = "KEEP BASE"
ALPHA = 0.05
SOURCE_FALL = 0.01  # a source whose primary metric falls by more than this is named


def gate(
    tuned: Mapping[str, Sequence[float | None]],
    base: Mapping[str, Sequence[float | None]],
    *,
    primary: str,
    floor: float,
    floor_name: str = "shuffling",
    sources: Sequence[str] = (),
) -> dict[str, Any]:
    """The verdict on a tuned model, with its reasons and figures, from per-question scores of both models by metric.

    `PROMOTE` needs all of: the interval of the primary metric's difference lies above zero, its permutation test has
    p < .05, no other metric's interval lies below zero, and the tuned model beats the `floor` that `floor_name` gives.
    A score is None where the metric says nothing of a question, for both models alike; the primary metric's never is.

    `sources` names the source of each question. The record then holds the same figures by source. They do not decide:
    the few dozen questions of one source are seldom enough.
    """
    metrics = {name: _figures(scores, base[name]) for name, scores in tuned.items()}
    reasons = []
    first = metrics[primary]
    if first["interval"] is None or first["interval"]["low"] <= 0:
        reasons.append(f"the interval of the difference in {primary} does not lie above zero")
    if first["p_value"] >= ALPHA:
        reasons.append(f"a difference in {primary} like this comes by chance with p = {first['p_value']:.3f}")
    for name, figures in metrics.items():
        if name != primary and figures["interval"] is not None and figures["interval"]["high"] < 0:
            reasons.append(f"{name} falls")
    if first["tuned"] <= floor:
        reasons.append(f"{primary} is no better than {floor_name} ({floor:.3f})")
    return {
        "verdict": KEEP_BASE if reasons else PROMOTE,
        "reasons": reasons,
        "primary": primary,
        "shuffle_floor": floor,
        "floor_name": floor_name,
        "metrics": metrics,
        "by_source": {
            source: {
                name: _figures(_of(source, sources, scores), _of(source, sources, base[name]))
                for name, scores in tuned.items()
            }
            for source in sorted(set(sources))
        },
    }


def _of(source: str, sources: Sequence[str], scores: Sequence[float | None]) -> list[float | None]:
    return [score for own, score in zip(sources, scores, strict=True) if own == source]


def _figures(tuned: Sequence[float | None], base: Sequence[float | None]) -> dict[str, Any]:
    pairs = [(a, b) for a, b in zip(tuned, base, strict=True) if a is not None and b is not None]
    of_tuned, of_base = [a for a, _ in pairs], [b for _, b in pairs]
    n = max(len(pairs), 1)
    return {"tuned": sum(of_tuned) / n, "base": sum(of_base) / n, **asdict(paired_difference(of_tuned, of_base))}


def with_refusals(record: Mapping, figures: Mapping, told: str) -> dict[str, Any]:
    """The verdict with `refusal_figures` that decide: `PROMOTE` also needs that their interval is not below zero.

    `told` says what is told apart by what, for `gate_lines`.
    """
    reasons = list(record["reasons"])
    if figures["interval"]["high"] < 0:
        reasons.append(f"separating {told} falls")
    return {
        **record,
        "verdict": KEEP_BASE if reasons else PROMOTE,
        "reasons": reasons,
        "refusals": {**figures, "told": told, "decides": True},
    }


def refusal_figures(
    tuned: Sequence[float], base: Sequence[float], n_answerable: int, *, seed: int = 0
) -> dict[str, Any]:
    """How well the best scores of each model separate unanswerable questions from answerable ones.

    `tuned` and `base` are the best score of each question, the `n_answerable` first. AUC is the chance that an
    answerable question scores above an unanswerable one; the interval of the difference is a bootstrap over questions.
    """

    def difference(answerable: np.ndarray, unanswerable: np.ndarray) -> float:
        of_tuned = auc(tuned_scores[answerable], tuned_scores[unanswerable])
        of_base = auc(base_scores[answerable], base_scores[unanswerable])
        return of_tuned - of_base

    tuned_scores = np.asarray(tuned, float)
    base_scores = np.asarray(base, float)
    answerable = np.arange(n_answerable)
    unanswerable = np.arange(n_answerable, len(tuned_scores))
    rng = np.random.default_rng(seed)
    # Both kinds are drawn apart, so that every draw keeps their numbers.
    drawn = [
        difference(rng.choice(answerable, len(answerable)), rng.choice(unanswerable, len(unanswerable)))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "tuned": auc(tuned_scores[answerable], tuned_scores[unanswerable]),
        "base": auc(base_scores[answerable], base_scores[unanswerable]),
        "difference": difference(answerable, unanswerable),
        "interval": asdict(Interval(float(low), float(high))),
        "n_answerable": n_answerable,
        "n_unanswerable": len(unanswerable),
    }


def gate_lines(record: Mapping) -> list[str]:
    """The verdict with its reasons and figures, as lines for a terminal."""
    lines = [record["verdict"], *(f"  {reason}" for reason in record["reasons"])]
    lines += [f"  {_figures_line(name, figures)}" for name, figures in record["metrics"].items()]
    lines.append(f"  {record.get('floor_name', 'shuffling')} gives {record['shuffle_floor']:.4f}")
    if refusals := record.get("refusals"):
        told = refusals.get("told", "unanswerable questions by the best score")
        lines.append(
            f"  separating {told}: AUC {refusals['base']:.4f} -> "
            f"{refusals['tuned']:.4f}, difference {refusals['difference']:+.4f} [{refusals['interval']['low']:+.4f}, "
            f"{refusals['interval']['high']:+.4f}], n = {refusals['n_unanswerable']:,}"
            f"{'' if refusals.get('decides') else ' unanswerable (does not decide)'}"
        )
    for kind, shares in record.get("refused", {}).items():
        if shares:
            lines.append(f"  {kind} questions refused: {shares['base']:.4f} -> {shares['tuned']:.4f}")
    for source, metrics in record.get("by_source", {}).items():
        figures = metrics[record["primary"]]
        if figures["difference"] < -SOURCE_FALL:
            lines.append(f"  falls on {source}: {_figures_line(record['primary'], figures)}")
    return lines


def _figures_line(name: str, figures: Mapping) -> str:
    interval = figures["interval"]
    span = f" [{interval['low']:+.4f}, {interval['high']:+.4f}]" if interval else ""
    return (
        f"{name}: {figures['base']:.4f} -> {figures['tuned']:.4f}, "
        f"difference {figures['difference']:+.4f}{span}, p = {figures['p_value']:.4f}, n = {figures['n']:,}"
    )
