"""The report's pages from their templates, and the pictures in them."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from rag.evaluate.outcomes import Outcome
from rag.evaluate.report.answers import answer_html, answer_markdown, plain
from rag.evaluate.report.figures import Dot, dots_figure, flow_svg, risk_figure, training_figure
from rag.evaluate.report.runs import ReportedRun
from rag.evaluate.report.tables import STAGE_NAMES
from rag.evaluate.rounding import n_of, percent, rounded

# (label, stage, metric) of the first figure
STAGE_DOTS = (
    ("Success@10, retrieved", "retrieve", "success@10"),
    ("MRR@10, retrieved", "retrieve", "mrr@10"),
    ("MRR@10, reranked", "rerank", "mrr@10"),
    ("nDCG@10, reranked", "rerank", "ndcg@10"),
)


def render(template: str, *, autoescape: bool, **context: object) -> str:
    """A template of this package, filled in. `autoescape` is for HTML: names, questions and answers are not ours."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rag.evaluate.report", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = rounded
    environment.globals["n_of"] = n_of
    environment.filters["interval"] = lambda pair: "" if not pair else f"{pair[0]:.3f} … {pair[1]:.3f}"
    environment.filters["signed"] = lambda pair: "" if not pair else f"{pair[0]:+.3f} … {pair[1]:+.3f}"
    environment.filters["share"] = lambda part, whole: percent(part / whole if whole else None, whole)
    environment.filters["plain"] = lambda value: plain(str(value))
    environment.filters["answer"] = answer_html if autoescape else answer_markdown
    return environment.get_template(template).render(**context)


def plots(runs: Sequence[ReportedRun]) -> dict[str, Markup]:
    """Name -> an SVG element, safe as markup; a figure without anything to draw is left out."""
    figures = {"stages": _stages_figure(runs), "sources": _sources_figure(runs)}
    if risks := {run.name: run.metrics["abstention"] for run in runs if run.metrics["abstention"]}:
        figures["risk"] = risk_figure(risks)
    for n, run in enumerate(runs):
        right_without_gold = sum(
            score["outcome"] == Outcome.RIGHT and not score.get("gold_in_context", True)
            for score in run.scores.values()
        )
        figures[f"flow{n}"] = flow_svg(run.metrics["outcomes"], right_without_gold)
        for role, record in run.training.items():
            if record["steps"] or record["evaluations"]:
                figures[f"training{n}{role}"] = training_figure(record["steps"], record["evaluations"])
    return {name: Markup(svg) for name, svg in figures.items() if svg}


def _stages_figure(runs: Sequence[ReportedRun]) -> str:
    series = {}
    for run in runs:
        stages = run.metrics["stages"]
        series[run.name] = [
            Dot(stages[stage][metric], stages[stage]["intervals"][metric]) for _, stage, metric in STAGE_DOTS
        ]
    return dots_figure([label for label, _, _ in STAGE_DOTS], series, "with 95 % bootstrap intervals")


def _sources_figure(runs: Sequence[ReportedRun]) -> str:
    """MRR@10 by source; empty where no source is known or nothing is judged."""
    sources = sorted({source for run in runs for source in run.metrics["slices"]["source"]})
    if not sources or not any(run.metrics["n_judged"] for run in runs):
        return ""
    series = {}
    for run in runs:
        slices = run.metrics["slices"]["source"]
        for stage, name in STAGE_NAMES.items():
            values = [slices.get(source, {}).get("stages", {}).get(stage, {}).get("mrr@10") for source in sources]
            series[f"{run.name}, {name}"] = [Dot(value) for value in values]
    return dots_figure(sources, series, "MRR@10 by source")
