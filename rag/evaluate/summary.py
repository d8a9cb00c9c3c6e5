"""A run's metrics: means, intervals and counts over the scores of single questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from rag.evaluate.calibration import risk_coverage
from rag.evaluate.metrics import DEEP_METRICS, RANKING_METRICS, mean
from rag.evaluate.outcomes import Outcome
from rag.evaluate.significance import bootstrap_interval

WITH_INTERVALS = ("recall@10", "success@10", "mrr@10", "ndcg@10")

CURVE_POINTS = 200
BASELINES = {"refuse": "always refusing", "sentence": "best sentence of the top passage"}


def summarize(rows: Sequence[Mapping], stages: Sequence[str], *, intervals: bool = True) -> dict[str, Any]:
    """Ranking figures by stage, and figures of the answers (None without references), over the scores of questions.

    `deep` holds what only deep rankings have, None for others. `intervals` adds bootstrap intervals to the figures that
    the report compares.
    """
    summary: dict[str, Any] = {
        "n": len(rows),
        "n_ranked": sum("retrieve/mrr@10" in row for row in rows),
        "stages": {},
        "deep": {},
    }
    for stage in stages:
        named = {name: [row[f"{stage}/{name}"] for row in rows if f"{stage}/{name}" in row] for name in RANKING_METRICS}
        summary["stages"][stage] = {name: mean(values) for name, values in named.items()}
        for name in DEEP_METRICS:
            deep = [row[f"{stage}/deep/{name}"] for row in rows if f"{stage}/deep/{name}" in row]
            summary["deep"].setdefault(stage, {})[name] = mean(deep)
        if intervals:
            summary["stages"][stage]["intervals"] = {name: _interval(named[name]) for name in WITH_INTERVALS}
    summary["answer"] = _summarize_answers(rows, intervals=intervals)
    return summary


def _summarize_answers(rows: Sequence[Mapping], *, intervals: bool) -> dict[str, Any] | None:
    rows = [row for row in rows if "answerable" in row]
    if not rows:
        return None
    answerable = [row for row in rows if row["answerable"]]
    unanswerable = [row for row in rows if not row["answerable"]]
    refused = [row for row in rows if row["abstained"]]
    given = [row for row in rows if "n_citations" in row]  # answers, not refusals
    oracle = [row for row in answerable if row.get("gold_in_context")]
    summary: dict[str, Any] = {
        "n": len(rows),
        "n_answerable": len(answerable),
        "cos_sim": _mean(rows, "cos_sim"),
        "cos_sim_answerable": _mean(answerable, "cos_sim"),
        "cos_sim_unanswerable": _mean(unanswerable, "cos_sim"),
        "cos_sim_best_alias": _mean(rows, "cos_sim_best_alias"),
        "cos_sim_gold_in_context": _mean(oracle, "cos_sim"),
        "n_gold_in_context": len(oracle),
        "exact_match": _mean(answerable, "exact_match"),
        "f1": _mean(answerable, "f1"),
        "reference_recall": _mean(answerable, "reference_recall"),
        "right": mean([float(row["right"]) for row in rows]),
        "grounded": _mean(given, "grounded"),
        "format_leaks": mean([float(bool(row["leaks"])) for row in given]),
        "abstain_precision": mean([float(not row["answerable"]) for row in refused]),
        "abstain_recall": mean([float(row["abstained"]) for row in unanswerable]),
        "wrong_refusals": mean([float(row["abstained"]) for row in answerable]),
        "cited": mean([float(row["n_citations"] > 0) for row in given]),
        "citation_precision": _mean(rows, "citation_precision"),
        "citation_recall": _mean(rows, "citation_recall"),
        "citation_supported": _mean(rows, "supported"),
        "invented_in_output": sum(row.get("invented_in_output", 0) for row in rows),
        "invented_shown": sum(row["invented_shown"] for row in given),
        "n_cited_with_gold_in_context": sum("citation_precision" in row for row in rows),
        "baselines": {
            name: {
                "cos_sim": _mean(rows, f"baseline/{key}"),
                "cos_sim_answerable": _mean(answerable, f"baseline/{key}"),
                "cos_sim_unanswerable": _mean(unanswerable, f"baseline/{key}"),
            }
            for key, name in BASELINES.items()
        },
    }
    if intervals:
        summary["intervals"] = {
            "cos_sim": _interval(_values(rows, "cos_sim")),
            "cos_sim_answerable": _interval(_values(answerable, "cos_sim")),
            "cos_sim_unanswerable": _interval(_values(unanswerable, "cos_sim")),
            "cos_sim_gold_in_context": _interval(_values(oracle, "cos_sim")),
            "f1": _interval(_values(answerable, "f1")),
            "right": _interval([float(row["right"]) for row in rows]),
        }
    return summary


def _values(rows: Iterable[Mapping], key: str) -> list[float]:
    return [row[key] for row in rows if row.get(key) is not None]


def _mean(rows: Iterable[Mapping], key: str) -> float | None:
    """The mean over the rows that have a value."""
    return mean(_values(rows, key))


def _interval(values: Sequence[float]) -> list[float] | None:
    interval = bootstrap_interval(values)
    return list(asdict(interval).values()) if interval else None


def abstention_figures(scores: Sequence[Mapping]) -> dict[str, Any] | None:
    """The confusion matrix of refusals, their precision and recall, and the risk if fewer questions were answered.

    None where no predicted question has a reference.
    """
    rows = [row for row in scores if "answerable" in row and row["outcome"] != Outcome.NOT_RUN]
    if not rows:
        return None
    counts = {
        name: sum(row["answerable"] == answerable and row["abstained"] == abstained for row in rows)
        for name, answerable, abstained in (
            ("answerable_answered", True, False),
            ("answerable_refused", True, True),
            ("unanswerable_answered", False, False),
            ("unanswerable_refused", False, True),
        )
    }
    scored = [row for row in rows if row.get("best_score") is not None]
    answered = [row for row in scored if not row["abstained"]]
    precision = mean([float(not row["answerable"]) for row in rows if row["abstained"]])
    recall = mean([float(row["abstained"]) for row in rows if not row["answerable"]])
    return {
        "counts": counts,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision and recall else None,
        "risk": risk_coverage(
            [row["best_score"] for row in answered], [not row["right"] for row in answered], len(rows), CURVE_POINTS
        ),
        "risk_unanswerable": risk_coverage(
            [row["best_score"] for row in scored], [not row["answerable"] for row in scored], len(rows), CURVE_POINTS
        ),
    }


def cost_figures(rows: Sequence[Mapping]) -> dict[str, Any]:
    """Seconds per stage (sum, and quantiles over questions), tokens, and how many contexts did not fit the window."""
    stages: dict[str, list[float]] = {}
    for row in rows:
        for stage, seconds in row["seconds"].items():
            stages.setdefault(stage, []).append(seconds)
    tokens = {kind: _values([row.get("tokens", {}) for row in rows], kind) for kind in ("prompt", "answer")}
    return {
        "seconds": {
            stage: {
                "total": round(sum(values), 2),
                "p50": round(float(np.percentile(values, 50)), 4),
                "p95": round(float(np.percentile(values, 95)), 4),
            }
            for stage, values in stages.items()
        },
        "tokens": {kind: sum(values) for kind, values in tokens.items() if values},
        "dropped_contexts": sum(row.get("dropped_contexts", 0) for row in rows),
    }
