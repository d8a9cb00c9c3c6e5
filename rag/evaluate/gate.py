"""The promotion gate: a tuned model serves only where a paired test on held-out questions says that it is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import comb

from rag.evaluate.significance import paired_difference

PROMOTE, KEEP_BASE = "PROMOTE", "KEEP BASE"
ALPHA = 0.05


def shuffle_floor(n_candidates: int, n_relevant: int, k: int = 10) -> float:
    """The expected reciprocal rank at k when `n_candidates`, `n_relevant` of them relevant, are put in random order."""
    if n_relevant <= 0 or n_candidates <= 0:
        return 0.0
    ways = comb(n_candidates, n_relevant)
    return sum(
        comb(n_candidates - rank, n_relevant - 1) / ways / rank
        for rank in range(1, min(k, n_candidates - n_relevant + 1) + 1)
    )


def gate(
    tuned: Mapping[str, Sequence[float]], base: Mapping[str, Sequence[float]], *, primary: str, floor: float
) -> dict:
    """Compare per-question scores of two models, metric by metric, and give the verdict.

    `PROMOTE` needs all of: the interval of the primary metric's difference lies above zero, its permutation test has
    p < .05, no other metric's interval lies below zero, and the tuned model beats the `floor` that shuffling gives.
    """
    metrics = {}
    for name, scores in tuned.items():
        difference = paired_difference(scores, base[name])
        n = max(len(scores), 1)
        metrics[name] = {"tuned": sum(scores) / n, "base": sum(base[name]) / n, **asdict(difference)}
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
        reasons.append(f"{primary} is no better than shuffling ({floor:.3f})")
    return {
        "verdict": KEEP_BASE if reasons else PROMOTE,
        "reasons": reasons,
        "primary": primary,
        "shuffle_floor": floor,
        "metrics": metrics,
    }


def gate_lines(record: Mapping) -> list[str]:
    """The verdict and its figures, for a terminal."""
    lines = [f"{record['verdict']}" + "".join(f"\n  {reason}" for reason in record["reasons"])]
    for name, figures in record["metrics"].items():
        interval = figures["interval"]
        span = f" [{interval['low']:+.4f}, {interval['high']:+.4f}]" if interval else ""
        lines.append(
            f"  {name}: {figures['base']:.4f} -> {figures['tuned']:.4f}, "
            f"difference {figures['difference']:+.4f}{span}, p = {figures['p_value']:.4f}, n = {figures['n']:,}"
        )
    return [*lines, f"  shuffling gives {record['shuffle_floor']:.4f}"]
