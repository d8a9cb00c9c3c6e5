"""The command itself, and the arguments and options that its commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def _not_empty(question: str) -> str:
    if not question.strip():
        raise typer.BadParameter("the question is empty")
    return question


QuestionArgument = Annotated[str, typer.Argument(callback=_not_empty)]
IndexOption = Annotated[Path, typer.Option("-i", "--index", help="The index folder.")]
RunIndexOption = Annotated[
    Path | None, typer.Option("-i", "--index", help="The index of the run, where it was moved since.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A TOML file with your settings.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def settings_of(config: Path | None, overrides: list[str] | None):
    from rag.compute.quiet import quiet_libraries
    from rag.config import load_settings

    quiet_libraries()
    return load_settings(config, overrides or ())


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
