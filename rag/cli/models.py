"""The command that shows models."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.cli.options import ConfigOption, JsonOption, SetOption, print_json, settings_of

PANEL = "Models"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
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
        print_json(records)
    else:
        print("\n".join(model_lines(records)))
