"""Commands over many questions: batch, calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.chosen import index_of
from rag.cli.options import (
    MEASURE,
    ConfigOption,
    KnownIndexOption,
    LimitOption,
    LlmOption,
    SampleOption,
    SetOption,
    example,
    serving_of,
    settings_of,
)
from rag.terminal import show

app = typer.Typer()


@app.command(rich_help_panel=MEASURE, epilog=example("rag batch dev.txt -i my.index -o runs/first"))
def batch(
    queries: Annotated[
        Path,
        typer.Argument(
            help="Questions: in the course layout, a BEIR folder or queries.jsonl, plain lines, a table, or a data set "
            "of the hub as owner/name:config:split. Columns: rows.csv:question=q,answer=gold."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The run folder.")],
    index: KnownIndexOption = None,
    limit: LimitOption = None,
    sample: SampleOption = None,
    generate: Annotated[
        bool, typer.Option("--generate/--no-generate", help="Generate answers, or stop after reranking.")
    ] = True,
    reuse: Annotated[
        list[Path] | None, typer.Option(help="A run whose results are reused where they fit; may be repeated.")
    ] = None,
    oracle: Annotated[
        Path | None, typer.Option(help="Qrels whose relevant passages are put first, whether found or not.")
    ] = None,
    unjudged: Annotated[
        bool, typer.Option("--unjudged", help="Of a BEIR folder, also ask the questions that nobody judged.")
    ] = False,
    llm: LlmOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Answer many questions into a run folder. Started again after a kill, it does the rest.

    Of a BEIR folder the judged questions are asked, once it is sure that the index holds what they are judged by.
    """
    index = index_of(index)
    from rag.build.indexes import corpus_of
    from rag.build.serving import serving_over
    from rag.data.qrels import load_qrels
    from rag.runs.asked import questions_to_ask
    from rag.runs.spread import predict
    from rag.runs.stored import as_begun

    questions = questions_to_ask(queries, corpus_of(index), unjudged=unjudged, sample=sample, limit=limit)
    serving = serving_over(as_begun(settings_of(config, set_, llm), output), index)
    path = predict(
        serving,
        queries,
        questions,
        output,
        generate=generate,
        reuse=reuse or (),
        oracle=load_qrels(oracle) if oracle else None,
    )
    show(f"{len(questions):,} predictions in {path}")


@app.command(rich_help_panel=MEASURE, epilog=example("rag calibrate --written -i my.index"))
def calibrate(
    index: KnownIndexOption = None,
    queries: Annotated[
        Path | None,
        typer.Argument(
            help="Dev questions with answers, some of them unanswerable; with --written, what rag questions wrote."
        ),
    ] = None,
    written: Annotated[
        bool,
        typer.Option(
            "--written", help="No labelled questions: the generator writes them, about 100 passages or --sample."
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A run folder to keep; by default one within the index.")
    ] = None,
    limit: LimitOption = None,
    sample: SampleOption = None,
    min_precision: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the refusals by score that must be right on dev questions.")
    ] = 0.5,
    max_wrong_refusals: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of answerable questions that may be refused by score.")
    ] = 0.15,
    llm: LlmOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Choose the rerank score below which a question is refused, from dev questions. It is stored with the index.

    With --written, a question that the generator writes about a passage is answerable. Without the passage's document,
    or with another name or number in it, it is not. Started again after a kill, it does the rest.
    """
    if queries is None and not written:
        raise typer.BadParameter("name a file of dev questions, or let the generator write questions with --written")
    if written and limit is not None:
        raise typer.BadParameter("--written goes with --sample N, which draws at random, and not with --limit")
    index = index_of(index)
    from rag.data.questions import load_questions, sample_questions
    from rag.runs.calibrate import make_calibration
    from rag.runs.calibrate_written import make_written_calibration

    serving = serving_of(config, set_, index, llm)
    limits = {"min_precision": min_precision, "max_wrong_refusals": max_wrong_refusals}
    if written or queries is None:
        result = make_written_calibration(serving, queries, output, sample=sample, **limits)
    else:
        questions = load_questions(queries)
        questions = sample_questions(questions, sample) if sample else questions[:limit]
        result = make_calibration(serving, queries, questions, output, **limits)
    show(*result)
