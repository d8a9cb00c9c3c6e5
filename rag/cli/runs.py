"""Commands over many questions: batch, calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import ConfigOption, IndexOption, LimitOption, SampleOption, SetOption, serving_of

PANEL = "Many questions"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def batch(
    queries: Annotated[
        Path, typer.Argument(help="Questions: in the course layout, BEIR's queries.jsonl, or plain lines.")
    ],
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The run folder.")],
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
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Answer many questions into a run folder. Started again after a kill, it does the rest."""
    from rag.build.identity import run_identity, run_provenance
    from rag.build.indexes import corpus_of
    from rag.build.pipelines import make_pipeline
    from rag.data.qrels import load_qrels
    from rag.data.questions import load_questions, sample_questions
    from rag.runs.batch import run_batch

    questions = load_questions(queries)
    questions = sample_questions(questions, sample) if sample else questions[:limit]
    serving = serving_of(config, set_, index)
    pipeline = make_pipeline(serving, interactive=False)
    identity = run_identity(serving, queries, generate=generate)
    corpus = corpus_of(index)
    path = run_batch(
        pipeline,
        questions,
        corpus,
        output,
        identity,
        generate=generate,
        reuse=reuse or (),
        oracle=load_qrels(oracle) if oracle else None,
        provenance=run_provenance(serving, generate=generate),
    )
    print(f"{len(questions):,} predictions in {path}")


@app.command(rich_help_panel=PANEL)
def calibrate(
    queries: Annotated[Path, typer.Argument(help="Dev questions with answers, some of them unanswerable.")],
    index: IndexOption,
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
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Choose the rerank score below which a question is refused, from dev questions. It is stored with the index."""
    from rag.data.questions import load_questions, sample_questions
    from rag.runs.calibrate import make_calibration

    questions = load_questions(queries)
    questions = sample_questions(questions, sample) if sample else questions[:limit]
    result = make_calibration(
        serving_of(config, set_, index),
        queries,
        questions,
        output,
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
    )
    print("\n".join(result))
