"""What a calibration chose, in words: when a question is refused, and how many of each kind that are."""

from __future__ import annotations

from collections.abc import Mapping

from rag.evaluate.significance import share_interval

LEAST_OF_A_KIND = 20
"""Questions of a kind below which a threshold is left to chance: of 20, one more or less is 5 of 100."""
NEARLY_ALL, HARDLY_ANY = 0.9, 0.05


def too_few(result: Mapping, more: str) -> list[str]:
    """A warning where a kind has fewer than `LEAST_OF_A_KIND` questions; `more` says how to get more."""
    counts = {"answerable": result["n"] - result["n_unanswerable"], "unanswerable": result["n_unanswerable"]}
    few = [f"{n} {kind}" for kind, n in counts.items() if n < LEAST_OF_A_KIND]
    if not few:
        return []
    return [
        f"warning: only {' and '.join(few)} questions; with fewer than about {LEAST_OF_A_KIND} of each kind the "
        f"threshold is mostly chance: {more}"
    ]


def choice_in_words(result: Mapping) -> list[str]:
    """When a question is refused, how many of 100 of each kind that would be, and a warning where that is an extreme.

    `result` is the record of `calibrate_evidence` or `calibrate_by`. The intervals are Wilson's, at 95 %. They take the
    threshold as given; it was chosen on the same questions, so that new ones do a little worse.
    """
    used = result.get("evidence", result)
    n_unanswerable = result["n_unanswerable"]
    n_answerable = result["n"] - n_unanswerable
    if used["threshold"] is None:
        if not n_unanswerable or not n_answerable:
            missing = "unanswerable" if n_answerable else "answerable"
            return [f"refuses no question by its score: there is no {missing} question to choose a threshold with"]
        return [
            "refuses no question by its score: no threshold within --min-precision and --max-wrong-refusals refuses an "
            "unanswerable one; whether to refuse is left to the generator"
        ]
    point = next(point for point in used["curve"] if point["threshold"] == used["threshold"])
    wrong = round(point["wrong_refusals"] * n_answerable)
    right = round(point["abstain_recall"] * n_unanswerable)
    what = "its score by all evidence" if "evidence" in result else "its best rerank score"
    said = (
        f"refuses a question when {what} is below {used['threshold']:.2f}; of 100 answerable questions like these "
        f"{_of_100(wrong, n_answerable)} would be refused, of 100 unanswerable {_of_100(right, n_unanswerable)}"
    )
    return [said, *_extreme(wrong, n_answerable, right, n_unanswerable)]


def _of_100(n: int, total: int) -> str:
    interval = share_interval(n, total)
    return f"about {100 * n / total:.0f} (95 %: {100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _extreme(wrong: int, n_answerable: int, right: int, n_unanswerable: int) -> list[str]:
    """A warning where next to everything is refused, or next to nothing."""
    refused, n = wrong + right, n_answerable + n_unanswerable
    if wrong >= NEARLY_ALL * n_answerable:
        how_many = "every question" if refused == n else f"nearly every question ({refused:,} of {n:,})"
        return [f"warning: this refuses {how_many}, answerable or not; lower --max-wrong-refusals"]
    if right <= HARDLY_ANY * n_unanswerable:
        return [
            f"warning: this refuses hardly any question ({right:,} of {n_unanswerable:,} unanswerable); the scores do "
            "not tell both kinds apart, or the limits leave no more"
        ]
    return []
