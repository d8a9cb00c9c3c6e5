"""Later runs against the first one: paired tests, and the questions that changed their class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag.evaluate.outcomes import GOOD
from rag.evaluate.report.answers import shown_answer
from rag.evaluate.report.runs import ReportedRun
from rag.evaluate.report.tables import HEADLINE
from rag.evaluate.significance import holm, paired_difference

# (name, key in a question's scores)
COMPARED = (
    *((name, key) for name, key, _ in HEADLINE),
    ("nDCG@10 after reranking", "rerank/ndcg@10"),
    ("Token F1, answerable", "f1"),
    ("Right", "right"),
)
# Scores closer than this are a tie.
TIE = 1e-9


def comparisons(runs: Sequence[ReportedRun]) -> list[dict[str, Any]]:
    """Every later run against the first, metric by metric, on the questions that both have scores for.

    p values come from paired permutation tests; `p_holm` corrects them over all the comparisons of the report.
    """
    results = [
        _comparison(name, other, runs[0], pairs)
        for other in runs[1:]
        for name, key in COMPARED
        if (pairs := _pairs(runs[0], other, key))
    ]
    for result, corrected in zip(results, holm([result["p_value"] for result in results]), strict=True):
        result["p_holm"] = corrected
    return results


def _pairs(first: ReportedRun, other: ReportedRun, key: str) -> list[tuple[float, float]]:
    """(score of the later run, score of the first) of every question that both have; F1 of answerable ones alone."""
    pairs = []
    for qid, score in first.scores.items():
        before, after = score.get(key), other.scores.get(qid, {}).get(key)
        if before is None or after is None or (key == "f1" and not score["answerable"]):
            continue
        pairs.append((float(after), float(before)))
    return pairs


def _comparison(
    metric: str, other: ReportedRun, first: ReportedRun, pairs: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    result = paired_difference([after for after, _ in pairs], [before for _, before in pairs])
    wins = sum(after > before + TIE for after, before in pairs)
    losses = sum(after < before - TIE for after, before in pairs)
    return {
        "metric": metric,
        "run": other.name,
        "against": first.name,
        "difference": result.difference,
        "interval": [result.interval.low, result.interval.high] if result.interval else None,
        "p_value": result.p_value,
        "n": result.n,
        "wins": wins,
        "losses": losses,
        "ties": result.n - wins - losses,
    }


def flips(runs: Sequence[ReportedRun]) -> list[dict[str, Any]]:
    """For every later run: its changes of class against the first, and the questions that it won or lost.

    `changes` holds ((class before, class after), number of questions), most frequent first.
    """
    return [_flips_of(runs[0], other) for other in runs[1:]]


def _flips_of(first: ReportedRun, other: ReportedRun) -> dict[str, Any]:
    changes: dict[tuple[str, str], int] = {}
    won: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for qid, before in first.scores.items():
        after = other.scores.get(qid)
        if after is None or after["outcome"] == before["outcome"]:
            continue
        change = (before["outcome"], after["outcome"])
        changes[change] = changes.get(change, 0) + 1
        was_good, is_good = before["outcome"] in GOOD, after["outcome"] in GOOD
        if was_good == is_good:
            continue
        flip = {
            "qid": qid,
            "query": (other.rows.get(qid) or first.rows.get(qid) or {}).get("query", ""),
            "reference": before.get("reference", ""),
            "before": shown_answer(first, qid),
            "after": shown_answer(other, qid),
            "change": change,
        }
        (won if is_good else lost).append(flip)
    ordered = sorted(changes.items(), key=lambda item: (-item[1], item[0]))
    return {"run": other.name, "against": first.name, "changes": ordered, "won": won, "lost": lost}
