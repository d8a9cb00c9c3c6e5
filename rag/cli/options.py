"""The arguments and options that several commands share, and what commands do with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rag.build.serving import Serving
    from rag.config import Settings


def _not_empty(question: str) -> str:
    if not question.strip():
        raise typer.BadParameter("the question is empty")
    return question


QuestionArgument = Annotated[str, typer.Argument(help="The question.", callback=_not_empty)]
IndexArgument = Annotated[Path, typer.Argument(help="The index folder.")]
IndexOption = Annotated[Path, typer.Option("-i", "--index", help="The index folder.")]
IndexOrSampleOption = Annotated[
    Path | None,
    typer.Option("-i", "--index", help="The index folder; by default the sample's, which is built if it is not there."),
]
RunIndexOption = Annotated[Path | None, typer.Option("-i", "--index", help="The run's index, if it was moved.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")]
SampleOption = Annotated[
    int | None, typer.Option(min=1, help="N random questions, in proportion to their sources (seeded).")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A TOML file with your settings.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def settings_of(config: Path | None, overrides: list[str] | None) -> Settings:
    from rag.compute.quiet import quiet_libraries
    from rag.config import load_settings

    quiet_libraries()
    return load_settings(config, overrides or ())


def index_or_sample(settings: Settings, index: Path | None) -> Path:
    """The index that was named, or that of the sample corpus."""
    if index is not None:
        return index
    from rag.build.indexes import sample_index

    return sample_index(settings)


def serving_of(config: Path | None, overrides: list[str] | None, index: Path) -> Serving:
    """What serves over an index by the settings of a command."""
    settings = settings_of(config, overrides)
    from rag.build.serving import serving_over

    return serving_over(settings, index)


def print_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Names of files may hold bytes that are no text: these can only be written as escapes.
    print(text if _is_text(text) else json.dumps(value, indent=2))


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
