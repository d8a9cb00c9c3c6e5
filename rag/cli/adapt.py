"""The command that adapts a retriever to documents that nobody has asked about: adapt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import TRAIN, ConfigOption, IndexArgument, LlmOption, SetOption, example, serving_of
from rag.terminal import show

app = typer.Typer()


@app.command(rich_help_panel=TRAIN, epilog=example("rag adapt my.index --dev asked.txt"))
def adapt(
    index: IndexArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder for everything; by default INDEX.adapted.")
    ] = None,
    dev: Annotated[
        Path | None, typer.Option(help="People's questions, which judge; without them nothing can be promoted.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements, if the file of dev does not hold them.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Random passages to write about.")] = 700,
    per_passage: Annotated[int, typer.Option(min=1, help="Questions about each passage, at most.")] = 3,
    round_trip: Annotated[
        int, typer.Option(min=0, help="Keep a question that finds its own passage among the first N; 0 keeps all.")
    ] = 20,
    per_question: Annotated[int, typer.Option(min=1, help="Negatives per question.")] = 7,
    depth: Annotated[int, typer.Option(min=1, help="Candidates scored for each question.")] = 12,
    recipe: Annotated[str, typer.Option(help="The retriever's recipe: distill, margin or mined.")] = "distill",
    reranker: Annotated[bool, typer.Option("--reranker", help="Train the reranker, too.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done.")] = False,
    llm: LlmOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Adapt the retriever to documents that nobody has asked about: write questions, mine, train, compare.

    The generator writes the questions, and the reranker's scores are the labels. Nothing is promoted by itself. Started
    again after a kill, it goes on.
    """
    serving = serving_of(config, set_, index, llm)
    from rag.cli.lines import adapted_lines
    from rag.train import adapt as adapting

    chosen = adapting.Adapting(
        sample=sample,
        per_passage=per_passage,
        round_trip=round_trip,
        per_question=per_question,
        depth=depth,
        recipe=recipe,
        reranker=reranker,
        dev=dev,
        qrels=qrels,
    )
    target = output or index.with_name(f"{index.name}.adapted")
    show(*adapting.plan(serving, chosen))
    if not plan:
        show(*adapted_lines(adapting.adapt(serving, target, chosen), target, index))
