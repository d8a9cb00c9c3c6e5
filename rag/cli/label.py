"""The command that labels questions which nobody judged: label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import TRAIN, ConfigOption, IndexOption, SampleOption, SetOption, example, serving_of
from rag.terminal import show

app = typer.Typer()


@app.command(rich_help_panel=TRAIN, epilog=example("rag label asked.txt -i my.index -o labelled.txt"))
def label(
    questions: Annotated[
        Path, typer.Argument(help="Questions, one a line, or JSON lines with qid, question and, if known, answer.")
    ],
    index: IndexOption,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The training file to write; OUTPUT.negatives.jsonl is written beside it."),
    ],
    min_score: Annotated[
        float,
        typer.Option(min=0, max=1, help="The reranker's probability from which on a passage is taken to answer."),
    ] = 0.5,
    retriever: Annotated[
        list[str] | None,
        typer.Option(help="What finds candidates: bm25, dense or hybrid; may be repeated (bm25 and dense)."),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Candidates of each retriever.")] = 8,
    per_question: Annotated[int, typer.Option(min=1, help="Negatives per question.")] = 7,
    sample: SampleOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Label questions that nobody judged: the reranker says which passages answer them, and how well.

    A question of which it is not sure is left out. Where the answer is known, as in a list of frequent questions, a
    passage that holds its words comes first. Give both files to rag train. Started again after a kill, it does the
    rest.
    """
    serving = serving_of(config, set_, index)
    from rag.cli.lines import labelled_lines
    from rag.train.label import label_questions, negatives_beside

    labelled = label_questions(
        serving,
        questions,
        output,
        min_score=min_score,
        retrievers=retriever or ["bm25", "dense"],
        depth=depth,
        per_question=per_question,
        sample=sample,
    )
    show(*labelled_lines(labelled, output, negatives_beside(output)))
