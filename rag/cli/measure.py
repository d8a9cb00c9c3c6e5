"""Commands that measure a run: evaluate, report, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import ConfigOption, JsonOption, RunIndexOption, SetOption, print_json, settings_of

app = typer.Typer()


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    qrels: Annotated[Path, typer.Option(help="Relevance judgements.")],
    queries: Annotated[Path | None, typer.Option(help="The questions with reference answers.")] = None,
    index: RunIndexOption = None,
    allow_unknown: Annotated[bool, typer.Option(help="Accept judged passages that the corpus lacks.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run: every stage, answers, refusals, citations, where questions are lost. Writes RUN/metrics.json."""
    from rag.cli.lines import metrics_lines
    from rag.runs.evaluate import make_evaluation

    metrics = make_evaluation(settings_of(config, set_), run, qrels, queries, index=index, allow_unknown=allow_unknown)
    if as_json:
        print_json(metrics)
    else:
        print("\n".join(metrics_lines(metrics)))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="One or several evaluated runs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file; .md and .json are written beside it.")],
    index: RunIndexOption = None,
) -> None:
    """Write one self-contained HTML report, the same as Markdown, and its figures as JSON."""
    from rag.runs.evaluate import make_report

    for path in make_report(runs, output, index=index):
        print(path)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="An evaluated run.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
) -> None:
    """Write a run in TREC's formats (STAGE.run, qrels), so that trec_eval, ranx and ir_measures can check us."""
    from rag.evaluate.export import export_trec

    for path in export_trec(run, output):
        print(path)
