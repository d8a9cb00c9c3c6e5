"""The command for what people thought of answers: feedback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.chosen import index_of
from rag.cli.options import TRAIN, KnownIndexOption, example
from rag.errors import IndexMismatchError
from rag.terminal import show

app = typer.Typer()


@app.command(rich_help_panel=TRAIN, epilog=example("rag feedback -i my.index -o feedback.txt"))
def feedback(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, in the course layout.")],
    index: KnownIndexOption = None,
    unjudged: Annotated[
        bool,
        typer.Option("--unjudged", help="The questions whose answers nobody marked instead, without labels."),
    ] = False,
) -> None:
    """Write the answers that were marked good or bad in the chat as training questions, for rag mine and rag train.

    With --unjudged, the questions that were asked and not marked, for rag label.

    A file that this command wrote before is replaced; any other file is left alone.
    """
    index = index_of(index)
    from rag.index.folder import serves
    from rag.models.resolve import rag_home
    from rag.serve.export import export_feedback
    from rag.serve.history import History, history_path

    if not serves(index):  # a mistyped one has no answers, and would write an empty file
        raise IndexMismatchError(f"{index} holds no index; name the one that the chat was about")
    n = export_feedback(History(history_path(rag_home(), index)), output, unjudged=unjudged)
    show(f"{n:,} {'questions without a judgement' if unjudged else 'judged answers'} in {output}")
