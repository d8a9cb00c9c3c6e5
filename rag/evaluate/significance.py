"""Intervals and paired tests for means over queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


def bootstrap_interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> Interval | None:
    """The percentile bootstrap interval of the mean over queries; None for fewer than two values."""
    array = np.asarray(values, float)
    if len(array) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.array([array[rng.integers(0, len(array), len(array))].mean() for _ in range(RESAMPLES)])
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(low), float(high))


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """mean(a - b), its bootstrap interval, and the two-sided p of a sign-flip permutation test."""

    difference: float
    interval: Interval | None
    p_value: float
    n: int


def paired_difference(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> PairedDifference:
    """Compare two systems on the same queries, in the same order."""
    if len(a) != len(b):
        raise ValueError(f"paired samples differ in length: {len(a)} and {len(b)}")
    differences = np.asarray(a, float) - np.asarray(b, float)
    observed = float(differences.mean()) if len(differences) else 0.0
    if not np.any(differences):
        return PairedDifference(observed, bootstrap_interval(differences, seed=seed), 1.0, len(differences))
    rng = np.random.default_rng(seed)
    extreme = 0
    for _ in range(RESAMPLES):
        signs = rng.integers(0, 2, len(differences)) * 2 - 1
        extreme += abs((differences * signs).mean()) >= abs(observed) - 1e-12
    p_value = (extreme + 1) / (RESAMPLES + 1)
    return PairedDifference(observed, bootstrap_interval(differences, seed=seed), p_value, len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for asking several times (Holm 1979, https://www.jstor.org/stable/4615733), in their order."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for n, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min((len(p_values) - n) * p_values[place], 1.0))
        corrected[place] = highest
    return corrected
