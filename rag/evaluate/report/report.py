"""The report of one or several runs: one self-contained HTML file, the same as Markdown, and the figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.data.passages import Corpus
from rag.evaluate.report import tables
from rag.evaluate.report.answers import examples
from rag.evaluate.report.comparisons import comparisons, flips
from rag.evaluate.report.questions import packed
from rag.evaluate.report.rendering import plots, render
from rag.evaluate.report.runs import ReportedPrompt, ReportedRun, lacking, read_runs
from rag.evaluate.summary import BASELINES

MAX_FLIPS_SHOWN = 100


def write_report(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    corpora: Sequence[Corpus | None] = (),
    prompts: Sequence[ReportedPrompt | None] = (),
) -> list[Path]:
    """Write OUTPUT (HTML) and beside it .md and .json; returns the three paths.

    `corpora` and `prompts`, one for each run, let the report show passages and prompts; without them it says that it
    cannot. Raises RunMismatchError where a folder is not an evaluated run.
    """
    read = read_runs(runs, corpora, prompts)
    context = _context(read)
    html = render("report.html.j2", autoescape=True, plots=plots(read), data=packed(read), **context)
    markdown = render("report.md.j2", autoescape=False, **context)
    figures = json.dumps(_figures(read, context["comparisons"]), indent=2) + "\n"

    # Everything is made before anything is written: a run that cannot be reported leaves no half of a report.
    output = Path(output)
    if output.suffix != ".html":
        output = output.with_suffix(".html")
    output.parent.mkdir(parents=True, exist_ok=True)
    paths = [output, output.with_suffix(".md"), output.with_suffix(".json")]
    for path, text in zip(paths, (html, markdown, figures), strict=True):
        path.write_text(text, encoding="utf-8", errors="replace")
    return paths


def _context(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    """What both templates are filled with."""
    return {
        "runs": runs,
        "heads": [tables.head(run) for run in runs],
        "headline": [tables.headline(run) for run in runs],
        "columns": tables.RANKING_COLUMNS,
        "stage_names": tables.STAGE_NAMES,
        "answer_rows": tables.ANSWER_ROWS,
        "baselines": list(BASELINES.values()),
        "citation_rows": tables.CITATION_ROWS,
        "answered": [run for run in runs if run.metrics["answer"]],
        "supported": [run for run in runs if run.metrics.get("support")],
        "support_groups": tables.SUPPORT_GROUPS,
        "outcomes": tables.outcome_rows(runs),
        "slices": tables.SLICES,
        "comparisons": comparisons(runs),
        "flips": flips(runs),
        "max_flips": MAX_FLIPS_SHOWN,
        "examples": [(run.name, rows) for run in runs if (rows := examples(run))],
        "lacking": [line for run in runs for line in lacking(run)],
        "settings": tables.settings_rows(runs),
    }


def _figures(runs: Sequence[ReportedRun], compared: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the JSON file holds."""
    return {
        "runs": [
            {
                "name": run.name,
                "metrics": run.metrics,
                "identity": run.identity,
                "cost": run.cost,
                "provenance": run.provenance,
            }
            for run in runs
        ],
        "comparisons": compared,
    }
