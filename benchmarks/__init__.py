"""Measurements. Speed, as ratios taken in one run on one machine: `make bench`, or `python -m benchmarks NAME…`.

Each other module is a measurement of its own, started as `python -m benchmarks.MODULE`; its docstring says how.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.evaluate.significance import paired_difference


def mrr_row(found: Sequence[float], base: Sequence[float]) -> dict:
    """Compare reciprocal ranks of the same questions found in two ways: mean and paired difference, as one JSON row."""
    difference = paired_difference(found, base)
    interval = None
    if difference.interval is not None:
        interval = [round(difference.interval.low, 4), round(difference.interval.high, 4)]
    return {
        "mrr@10": round(float(np.mean(found)), 4),
        "difference": round(difference.difference, 4),
        "interval": interval,
        "p": difference.p_value,
        "n": difference.n,
    }
