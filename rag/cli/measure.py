"""Commands that measure a run: evaluate, report, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import MEASURE, ConfigOption, JsonOption, RunIndexOption, SetOption, example, settings_of
from rag.terminal import show, show_json

app = typer.Typer()


@app.command(rich_help_panel=MEASURE, epilog=example("rag evaluate runs/first --qrels qrels.dev.tsv --queries dev.txt"))
def evaluate(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    qrels: Annotated[Path, typer.Option(help="Relevance judgements.")],
    queries: Annotated[Path | None, typer.Option(help="The questions with reference answers.")] = None,
    index: RunIndexOption = None,
    allow_unknown: Annotated[bool, typer.Option(help="Accept judged passages that the corpus lacks.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show every figure, not the six that matter most.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run: stages, answers, refusals, citations, and where questions are lost. Writes RUN/metrics.json.

    A figure has as many decimals as its standard error leaves sure; metrics.json has them all.
    """
    from rag.build.parts import make_scorer
    from rag.cli.metric_lines import metrics_lines, summary_lines
    from rag.lazy import Lazy
    from rag.runs.evaluate import make_evaluation

    settings = settings_of(config, set_)
    metrics = make_evaluation(
        run,
        qrels,
        queries,
        Lazy(lambda: make_scorer(settings)),
        scorer_name=settings.scorer.model,
        index=index,
        allow_unknown=allow_unknown,
    )
    if as_json:
        show_json(metrics)
    else:
        show(*(metrics_lines(metrics) if everything else summary_lines(metrics)))


@app.command(rich_help_panel=MEASURE, epilog=example("rag report runs/first runs/second -o report.html"))
def report(
    runs: Annotated[list[Path], typer.Argument(help="Evaluated runs.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The HTML file; a .md and a .json are written beside it.")
    ],
    index: RunIndexOption = None,
) -> None:
    """Write a self-contained HTML report, the same as Markdown, and its figures as JSON."""
    from rag.runs.evaluate import make_report

    for path in make_report(runs, output, index=index):
        show(str(path))


@app.command(rich_help_panel=MEASURE, epilog=example("rag export runs/first -o trec/"))
def export(
    run: Annotated[Path, typer.Argument(help="An evaluated run.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
) -> None:
    """Write a run in TREC's formats (STAGE.run, qrels), which trec_eval, ranx and ir_measures read."""
    from rag.evaluate.export import export_trec

    for path in export_trec(run, output):
        show(str(path))
