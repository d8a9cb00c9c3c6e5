"""Commands on models: show them, make an adapter of a tuned one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rag.cli.options import MANAGE, TRAIN, ConfigOption, JsonOption, SetOption, example, settings_of
from rag.terminal import show, show_json

app, training = typer.Typer(), typer.Typer()
ADAPTING = "rag adapter BASE models/reranker -o my-adapter --role reranker"


@app.command(rich_help_panel=MANAGE, epilog=example("rag models --fetch"))
def models(
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch every model that the settings name.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the models that the settings name and those in the cache: source, licence, hash."""
    from rag.cli.lines import model_lines
    from rag.cli.model_records import list_models

    records = list_models(settings_of(config, set_), fetch=fetch)
    if as_json:
        show_json(records)
    else:
        show(*model_lines(records))


@training.command(rich_help_panel=TRAIN, epilog=example(ADAPTING))
def adapter(
    base: Annotated[str, typer.Argument(help="The model that the tuning began with: a name or a folder.")],
    tuned: Annotated[Path, typer.Argument(help="The tuned model: a run, a checkpoint, or a LoRA folder of peft.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder of the adapter to write.")],
    role: Annotated[Literal["retriever", "reranker", "reader", "generator"], typer.Option(help="What it serves as.")],
    rank: Annotated[
        int,
        typer.Option(min=1, help="The rank of each matrix's change; more is nearer and larger. A LoRA keeps its own."),
    ] = 32,
    name: Annotated[str, typer.Option(help="The model's name; by default rag-qa/ and the folder's name.")] = "",
    license_: Annotated[str, typer.Option("--license", help="For the card: the licence of the adapter.")] = "",
    data: Annotated[
        list[str] | None, typer.Option(help="For the card: a data set and its licence; may be repeated.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="For the card: the recipe of the training.")] = "",
    command: Annotated[str, typer.Option(help="For the card: the command that trained it.")] = "",
    figure: Annotated[
        list[str] | None, typer.Option(help="For the card: a figure with its interval; may be repeated.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="The calibration.json of an index, made with this reader: for indexes that have none."),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Keep what was tuned of a model as an adapter of a few megabytes, which others merge with the base."""
    settings = settings_of(config, set_)
    from rag.cli.lines import adapter_lines
    from rag.models.adapter_making import Start, Words, make_adapter
    from rag.models.resolve import resolve

    found = resolve(base, source=settings.models.source)
    words = Words(license_, tuple(data or ()), recipe, command, tuple(figure or ()))
    made = make_adapter(
        Start.of(found.folder, base),
        tuned,
        output,
        role=role,
        words=words,
        name=name,
        rank=rank,
        calibration=calibration,
    )
    show(*adapter_lines(made))
