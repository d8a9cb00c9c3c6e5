"""The report: one self-contained HTML file, a Markdown twin, and the figures as JSON, from one or several runs."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from rag.errors import RunMismatchError
from rag.evaluate.evaluation import STAGES, read_metrics, read_predictions, read_scores
from rag.evaluate.significance import paired_difference

HEADLINE = (
    ("Recall@10", "retrieve/success@10", "Share of judged questions with a gold passage in the retriever's top 10 "),
    ("MRR@10", "rerank/mrr@10", "Mean reciprocal rank of the first gold passage in the top 10 after reranking"),
    ("CosSim", "cos_sim", "Mean cosine of the all-MiniLM-L6-v2 embeddings of answer and reference"),
)
RANKING_COLUMNS = ("recall@1", "recall@5", "recall@10", "recall@50", "success@10", "mrr@10", "ndcg@10")
ANSWER_ROWS = (
    ("cos_sim", "CosSim, all questions"),
    ("cos_sim_answerable", "CosSim, answerable"),
    ("cos_sim_unanswerable", "CosSim, unanswerable"),
    ("exact_match", "Exact match, answerable"),
    ("f1", "Token F1, answerable"),
    ("abstain_precision", "Refusals that were right"),
    ("abstain_recall", "Unanswerable questions refused"),
    ("wrong_refusals", "Answerable questions refused"),
    ("citation_precision", "Citations that name a gold passage (where one was in the context)"),
)
MAX_QUESTIONS_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run's numbers, as the report needs them."""

    name: str
    metrics: dict
    scores: dict[str, dict]
    rows: dict[str, dict]
    identity: dict


def write_report(runs: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Write OUTPUT (HTML) and beside it .md and .json; returns the three paths."""
    figures = [_read_run(Path(run)) for run in runs]
    context = {
        "runs": figures,
        "headline": [_headline(run) for run in figures],
        "columns": RANKING_COLUMNS,
        "stages": tuple(STAGES),
        "answer_rows": ANSWER_ROWS,
        "comparisons": _comparisons(figures),
        "questions": _questions(figures[0]),
        "n_questions": len(figures[0].rows),
    }
    output = Path(output)
    if output.suffix != ".html":
        output = output.with_suffix(".html")
    output.parent.mkdir(parents=True, exist_ok=True)
    html = _render("report.html.j2", autoescape=True, plots=_plots(figures), **context)
    markdown = _render("report.md.j2", autoescape=False, **context)
    data = {
        "runs": [{"name": r.name, "metrics": r.metrics, "identity": r.identity} for r in figures],
        "comparisons": context["comparisons"],
    }
    paths = [output, output.with_suffix(".md"), output.with_suffix(".json")]
    for path, text in zip(paths, (html, markdown, json.dumps(data, indent=2) + "\n"), strict=True):
        path.write_text(text, encoding="utf-8", errors="replace")
    return paths


def _read_run(folder: Path) -> RunFigures:
    run_file = folder / "run.json"
    if not folder.is_dir():
        raise RunMismatchError(f"{folder} is no run folder; make one: rag batch QUERIES -i INDEX -o {folder}")
    identity = json.loads(run_file.read_text(encoding="utf-8")) if run_file.is_file() else {}
    rows = {row["qid"]: row for row in read_predictions(folder)}
    return RunFigures(folder.name, read_metrics(folder), read_scores(folder), rows, identity)


def _headline(run: RunFigures) -> list[dict]:
    answer = run.metrics.get("answer") or {}
    retrieve, rerank = run.metrics["retrieve"], run.metrics["rerank"]
    n_judged = run.metrics["n_judged"]
    values = {
        "Recall@10": (retrieve["success@10"], retrieve["intervals"]["success@10"], n_judged),
        "MRR@10": (rerank["mrr@10"], rerank["intervals"]["mrr@10"], n_judged),
        "CosSim": (answer.get("cos_sim"), (answer.get("intervals") or {}).get("cos_sim"), answer.get("n", 0)),
    }
    cards = []
    for name, _, definition in HEADLINE:
        value, interval, n = values[name]
        cards.append({"name": name, "definition": definition, "value": value, "interval": interval, "n": n})
    return cards


def _comparisons(runs: Sequence[RunFigures]) -> list[dict]:
    """Every later run against the first, on the questions that both have, with a paired permutation test."""
    results = []
    for other in runs[1:]:
        for name, key, _ in HEADLINE:
            shared = [q for q in runs[0].scores if key in runs[0].scores[q] and key in other.scores.get(q, {})]
            if not shared:
                continue
            result = paired_difference([other.scores[q][key] for q in shared], [runs[0].scores[q][key] for q in shared])
            results.append(
                {
                    "metric": name,
                    "run": other.name,
                    "against": runs[0].name,
                    "difference": result.difference,
                    "interval": [result.interval.low, result.interval.high] if result.interval else None,
                    "p_value": result.p_value,
                    "n": result.n,
                }
            )
    return results


def _questions(run: RunFigures) -> list[dict]:
    """Rows of the table of questions: what was asked, answered, and how it scored."""
    questions = []
    for qid, row in list(run.rows.items())[:MAX_QUESTIONS_SHOWN]:
        score = run.scores.get(qid, {})
        questions.append(
            {
                "qid": qid,
                "query": row["query"],
                "answer": row["answer"],
                "raw": row["raw"],
                "source": row.get("source", ""),
                "cos_sim": score.get("cos_sim"),
                "rank_before": _rank(score.get("retrieve/mrr@10")),
                "rank_after": _rank(score.get("rerank/mrr@10")),
                "citations": row["citations"] or [],
                "contexts": row["contexts"],
            }
        )
    return questions


def _rank(reciprocal: float | None) -> str:
    """The rank of the first gold passage, from its reciprocal; empty for an unjudged question."""
    if reciprocal is None:
        return ""
    return str(round(1 / reciprocal)) if reciprocal else ">10"


def _render(template: str, *, autoescape: bool, **context: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rag.evaluate", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.4f}"
    environment.filters["interval"] = lambda pair: "" if not pair else f"{pair[0]:.3f} … {pair[1]:.3f}"
    environment.filters["cell"] = lambda text: " ".join(text.replace("|", "\\|").split())
    return environment.get_template(template).render(**context)


def _plots(runs: Sequence[RunFigures]) -> list[tuple[str, str]]:
    """(caption, data URI of an SVG) per plot."""
    plots = [("Stages: with 95% bootstrap intervals", _stage_plot(runs))]
    if any(run.metrics["by_source"] for run in runs):
        plots.append(("MRR@10 after reranking, by source", _source_plot(runs)))
    return [(caption, _data_uri(figure)) for caption, figure in plots]


def _stage_plot(runs: Sequence[RunFigures]):
    from matplotlib.figure import Figure

    names = ("recall@10", "success@10", "mrr@10", "ndcg@10")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    bars = [(run, stage) for run in runs for stage in STAGES]
    width = 0.8 / len(bars)
    for i, (run, stage) in enumerate(bars):
        values = [run.metrics[stage][name] or 0 for name in names]
        intervals = [run.metrics[stage]["intervals"][name] or [v, v] for name, v in zip(names, values, strict=True)]
        # Where every question scores the same, rounding can put the mean a hair outside its interval.
        errors = [
            [max(v - low, 0) for v, (low, _) in zip(values, intervals, strict=True)],
            [max(high - v, 0) for v, (_, high) in zip(values, intervals, strict=True)],
        ]
        positions = [n + i * width for n in range(len(names))]
        label = {"retrieve": "before reranking", "rerank": "after reranking"}[stage]
        axes.bar(positions, values, width, yerr=errors, label=f"{run.name}, {label}", error_kw={"linewidth": 1})
    axes.set_xticks([n + 0.4 - width / 2 for n in range(len(names))], names)
    axes.set_ylim(0, 1)
    axes.legend(fontsize="small", loc="lower left")
    return figure


def _source_plot(runs: Sequence[RunFigures]):
    from matplotlib.figure import Figure

    sources = sorted({source for run in runs for source in run.metrics["by_source"]})
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(runs)
    for i, run in enumerate(runs):
        by_source = run.metrics["by_source"]
        values = [by_source.get(source, {}).get("rerank", {}).get("mrr@10") or 0 for source in sources]
        axes.bar([n + i * width for n in range(len(sources))], values, width, label=run.name)
    axes.set_xticks([n + 0.4 - width / 2 for n in range(len(sources))], sources, rotation=20)
    axes.set_ylim(0, 1)
    if len(runs) > 1:
        axes.legend(fontsize="small")
    return figure


def _data_uri(figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
