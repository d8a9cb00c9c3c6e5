"""Commands over many questions: batch, calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import ConfigOption, IndexOption, SetOption, settings_of

app = typer.Typer()


@app.command()
def batch(
    queries: Annotated[Path, typer.Argument(help="Questions: course layout, BEIR queries.jsonl, or plain lines.")],
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The run folder.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N questions, each source in its share (seeded).")] = None,
    generate: Annotated[bool, typer.Option("--generate/--no-generate", help="Answer, or stop after reranking.")] = True,
    reuse: Annotated[
        list[Path] | None, typer.Option(help="A run whose stages, scores and answers are taken over; may be repeated.")
    ] = None,
    oracle: Annotated[
        Path | None,
        typer.Option(help="Qrels whose passages are put first, found or not."),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Answer many questions into a run folder; started again after a kill, it finishes the rest."""
    from rag.build.indexes import corpus_of
    from rag.build.pipelines import make_pipeline
    from rag.data.qrels import load_qrels
    from rag.data.questions import load_questions, sample_questions
    from rag.runs.batch import run_batch
    from rag.runs.identity import run_identity, run_provenance

    settings = settings_of(config, set_)
    questions = load_questions(queries)
    questions = sample_questions(questions, sample) if sample else questions[:limit]
    pipeline = make_pipeline(settings, index, interactive=False)
    identity = run_identity(settings, index, queries, generate=generate)
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
        provenance=run_provenance(settings, index, generate=generate),
    )
    print(f"{len(questions):,} predictions in {path}")


@app.command()
def calibrate(
    queries: Annotated[Path, typer.Argument(help="Dev questions with answers, unanswerable ones included.")],
    index: IndexOption,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A run folder to keep (else one within the index).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N questions, each source in its share (seeded).")] = None,
    min_precision: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the refusals by score that must be right on dev.")
    ] = 0.5,
    max_wrong_refusals: Annotated[
        float, typer.Option(min=0, max=1, help="Share of answerable questions that may be refused by score.")
    ] = 0.15,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Choose on dev questions the rerank score below which a question is refused; stored with the index."""
    from rag.data.questions import load_questions, sample_questions
    from rag.runs.calibrate import make_calibration

    questions = load_questions(queries)
    questions = sample_questions(questions, sample) if sample else questions[:limit]
    result = make_calibration(
        settings_of(config, set_),
        index,
        queries,
        questions,
        output,
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
    )
    print("\n".join(result))
