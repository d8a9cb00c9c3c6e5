"""What `rag evaluate` shows of a run's metrics: six figures in words, or all of them."""

from __future__ import annotations

from collections.abc import Mapping

from rag.evaluate.metrics import DEEP_METRICS
from rag.evaluate.rounding import n_of, percent, rounded
from rag.terminal import Styled


def summary_lines(metrics: Mapping) -> list[str | Styled]:
    """The six figures that matter, each in words; those that were not measured say what is missing."""
    found, ranked = metrics["stages"]["retrieve"], metrics["stages"].get("rerank", metrics["stages"]["retrieve"])
    n = metrics["n_judged"]
    rows = [
        (
            "Found",
            percent(found["success@10"], n),
            "of the questions have a gold passage among the ten found (Recall@10)",
        ),
        ("Ranked", rounded(ranked["mrr@10"], n), "is the mean of 1 / rank of the first gold passage (MRR@10)"),
    ]
    answer = metrics.get("answer")
    if answer:
        rows += _answer_rows(metrics, answer)
    width = max(len(value) for _, value, _ in rows)
    lines: list[str | Styled] = [
        f"{metrics['n_queries']:,} questions, {n:,} judged, {metrics['n_predicted']:,} predicted",
        "",
    ]
    for name, value, words in rows:
        lines.append(Styled(((f"{name:9}", ""), (f"{value:>{width}}", "strong"), (f"  {words}", ""))))
    if not answer:
        lines.append("No answer was scored: the run holds none, or no references were named (--queries FILE).")
    return [*lines, "", "every figure: --all; with intervals: rag report"]


def _answer_rows(metrics: Mapping, answer: Mapping) -> list[tuple[str, str, str]]:
    def share(name: str) -> str:
        return percent(answer[name], n_of(metrics, name))

    wrongly = share("wrong_refusals")
    return [
        ("Right", share("right"), "of all questions are answered right, or refused rightly"),
        (
            "Near",
            rounded(answer["cos_sim"], n_of(metrics, "cos_sim")),
            "is the mean cosine of answer and reference (CosSim)",
        ),
        (
            "Refused",
            share("abstain_recall"),
            f"of the questions without an answer are refused, and {wrongly} of those with one",
        ),
        ("Cited", share("citation_precision"), "of the citations name a gold passage, where one was shown"),
    ]


def metrics_lines(metrics: Mapping) -> list[str]:
    """Every figure of a run, in tables."""
    names = [name for name in metrics["stages"]["retrieve"] if name != "intervals"]
    lines = [
        f"{metrics['n_queries']:,} questions, {metrics['n_judged']:,} judged, {metrics['n_predicted']:,} predicted",
        "",
        f"{'':12}" + "".join(f"{name:>12}" for name in names),
    ]
    n = metrics["n_judged"]
    for stage, figures in metrics["stages"].items():
        lines.append(f"{stage:12}" + "".join(f"{rounded(figures[name], n):>12}" for name in names))
    bounds = metrics["bounds"]
    lines.append(
        f"mrr@10 of the same candidates shuffled {rounded(bounds['shuffled'], n)}, "
        f"ranked perfectly {rounded(bounds['perfect'], n)}"
    )
    lines += _intent_lines(metrics)
    if answer := metrics.get("answer"):
        lines.append("")
        for name, value in answer.items():
            is_measured = isinstance(value, float) or value is None
            if not isinstance(value, dict):
                lines.append(f"{name:30}{rounded(value, n_of(metrics, name)) if is_measured else value}")
    if support := metrics.get("support"):
        lines += ["", *_support_lines(support)]
    lines.append("")
    lines += [f"{outcome:36}{n:>8,}" for outcome, n in metrics["outcomes"].items() if n]
    seconds = metrics["cost"]["seconds"]
    return [*lines, "", ", ".join(f"{stage} {figures['total']:,.1f} s" for stage, figures in seconds.items())]


def _intent_lines(metrics: Mapping) -> list[str]:
    """How well each kind of query is served at the top and deep down; of every stage."""
    groups = metrics["slices"]["intent"]
    if not any(figures["n_ranked"] for figures in groups.values()):
        return []
    names = ("mrr@10", *DEEP_METRICS)
    head = f"{'intent':12}{'judged':>8}  {'stage':12}" + "".join(f"{name:>12}" for name in names)
    lines = ["", head]
    for intent, figures in groups.items():
        n = figures["n_ranked"]
        for stage, found in figures["stages"].items():
            values = {**found, **figures["deep"][stage]}
            cells = "".join(f"{rounded(values[name], n):>12}" for name in names)
            lines.append(f"{intent:12}{n:>8,}  {stage:12}{cells}")
    for stage, depth in metrics["depths"].items():
        left_out = [name for name, value in metrics["deep"][stage].items() if value is None]
        if left_out:
            lines.append(f"{stage}: {' and '.join(left_out)} left out, its rankings hold {depth} passages")
    return lines


def _support_lines(support: Mapping) -> list[str]:
    """How well the support of answers tells right ones from wrong ones."""
    groups = {"gold_in_context": "gold in the context", "all_answers": "all answers"}
    lines = ["support of answers, AUC of right against wrong:"]
    for key, label in groups.items():
        found, aucs = support[key], support[key]["auc"]
        count = found["n_right"] + found["n_wrong"]
        others = ", ".join(f"{name} {rounded(aucs[name], count)}" for name in ("reranker", "reader", "best passage"))
        n = f"{found['n_right']:,} right, {found['n_wrong']:,} wrong"
        lines.append(f"{label:28}{rounded(aucs['support'], count)}  ({n}; alone: {others})")
    lowest = support["lowest"]
    return [
        *lines,
        f"of the {lowest['n']:,} answers of least support {rounded(lowest['wrong'], lowest['n'])} are wrong, of all "
        f"{support['n']:,} {rounded(lowest['wrong_of_all'], support['n'])}",
    ]
