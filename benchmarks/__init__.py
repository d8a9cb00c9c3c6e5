"""Speed as ratios measured in one run on one machine: `make bench`, or `python -m benchmarks NAME…`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.evaluate.significance import paired_difference


def mrr_row(found: Sequence[float], base: Sequence[float]) -> dict:
    """Reciprocal ranks of the same questions under two ways, as a line of JSON: mean and paired difference."""
    difference = paired_difference(found, base)
    interval = difference.interval and [round(difference.interval.low, 4), round(difference.interval.high, 4)]
    return {
        "mrr@10": round(float(np.mean(found)), 4),
        "difference": round(difference.difference, 4),
        "interval": interval,
        "p": difference.p_value,
        "n": difference.n,
    }
