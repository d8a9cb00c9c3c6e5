"""How many decimals a figure can bear: as far as its standard error reaches, and no further.

The last decimal shown is the first that the standard error reaches: 0.52 of 100 questions, 0.517 of 10,000. Every
figure is a mean of n values between 0 and 1, so its standard error is at most sqrt(m (1 - m) / n), which is exact for
shares. The mean m is first moved towards one half by one success and one failure: shares of 0 and of 1 have an error
too (the rule of succession, Laplace 1774). There are one to four decimals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MOST, FEWEST = 4, 1
OF_ANSWERABLE = ("cos_sim_answerable", "exact_match", "f1", "reference_recall", "wrong_refusals")
OF_UNANSWERABLE = ("cos_sim_unanswerable", "abstain_recall")
OF_GIVEN = ("grounded", "format_leaks", "cited", "citation_supported")
OF_CITED = ("citation_precision", "citation_recall")


def decimals(value: float, n: int) -> int:
    """The decimals that a mean over n questions can bear."""
    if n < 1:
        return FEWEST
    mean = (min(max(value, 0.0), 1.0) * n + 1) / (n + 2)
    return min(max(math.ceil(-math.log10(math.sqrt(mean * (1 - mean) / n))), FEWEST), MOST)


def rounded(value: float | None, n: int | None = None) -> str:
    """A figure as people read it; without n, with four decimals; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.{MOST if n is None else decimals(value, n)}f}"


def percent(value: float | None, n: int) -> str:
    """A share as people read it, "52 %", by the same rule."""
    return "–" if value is None else f"{100 * value:.{max(decimals(value, n) - 2, 0)}f} %"


def n_of(metrics: Mapping[str, Any], name: str) -> int:
    """Over how many questions a figure of `metrics["answer"]` is a mean."""
    answer = metrics.get("answer") or {}
    counts = (metrics.get("abstention") or {}).get("counts", {})
    n, n_answerable = answer.get("n", 0), answer.get("n_answerable", 0)
    if name in OF_ANSWERABLE:
        return n_answerable
    if name in OF_UNANSWERABLE:
        return n - n_answerable
    if name in OF_GIVEN:
        return counts.get("answerable_answered", n) + counts.get("unanswerable_answered", 0)
    if name in OF_CITED:
        return answer.get("n_cited_with_gold_in_context", 0)
    if name == "cos_sim_gold_in_context":
        return answer.get("n_gold_in_context", 0)
    if name == "abstain_precision":
        return counts.get("answerable_refused", n) + counts.get("unanswerable_refused", 0)
    return n
