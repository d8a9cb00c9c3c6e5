"""Intervals and paired tests for means over queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
Z_95 = 1.959964
"""Standard deviations of a normal distribution on either side of which 5 % lie."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, in the unit of its metric."""

    low: float
    high: float


def bootstrap_interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> Interval | None:
    """The percentile bootstrap interval of the mean over queries; None for fewer than two values.

    Efron and Tibshirani 1993, ch. 13. `RESAMPLES` draws with a fixed seed, so that a report can be made again.
    """
    array = np.asarray(values, float)
    if len(array) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.array([array[rng.integers(0, len(array), len(array))].mean() for _ in range(RESAMPLES)])
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(low), float(high))


def share_interval(n: int, total: int) -> Interval:
    """The 95 % interval of a share, n of `total` (Wilson 1927, https://doi.org/10.2307/2276774); total is above 0.

    It stays within 0 and 1, and has a width where n is 0 or `total`, too.
    """
    share, squared = n / total, Z_95**2 / total
    middle = (share + squared / 2) / (1 + squared)
    half = Z_95 * (share * (1 - share) / total + squared / (4 * total)) ** 0.5 / (1 + squared)
    return Interval(max(middle - half, 0.0), min(middle + half, 1.0))


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """mean(a - b) over n queries, its bootstrap interval, and the two-sided p of a sign-flip permutation test."""

    difference: float
    interval: Interval | None
    p_value: float
    n: int


def paired_difference(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> PairedDifference:
    """Compare the scores of two systems on the same queries, in the same order; raises ValueError for other lengths.

    Under the null hypothesis the systems are exchangeable, so that the sign of each difference is random: p is the
    share of random signs whose mean is at least as far from zero (Smucker, Allan, Carterette 2007,
    https://doi.org/10.1145/1321440.1321528).
    """
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
        # The small tolerance counts the same mean, summed in another order, as equal.
        extreme += int(abs((differences * signs).mean()) >= abs(observed) - 1e-12)
    p_value = (extreme + 1) / (RESAMPLES + 1)  # the observed signs are one of the draws: p is never zero
    return PairedDifference(observed, bootstrap_interval(differences, seed=seed), p_value, len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for several tests, in the order given (Holm 1979, https://www.jstor.org/stable/4615733)."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    smallest_first = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for n, place in enumerate(smallest_first):
        # The smallest is multiplied by the number of tests, the next by one less; none falls below one before it.
        highest = max(highest, min((len(p_values) - n) * p_values[place], 1.0))
        corrected[place] = highest
    return corrected
