"""The arguments and options that several commands share, and what commands do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rag.build.serving import Serving
    from rag.config import Settings


USE, MEASURE, TRAIN, MANAGE = "Use", "Measure", "Train", "Manage"
"""The groups of commands, in the order of the help."""
VARIABLE = "RAG_INDEX"


def example(command: str) -> str:
    """What stands below the help of a command: how it is called."""
    return f"Example: {command}"


def _not_empty(question: str) -> str:
    if not question.strip():
        raise typer.BadParameter("the question is empty")
    return question


QuestionArgument = Annotated[str, typer.Argument(help="The question.", callback=_not_empty)]
IndexArgument = Annotated[Path, typer.Argument(help="The index folder.")]
IndexOption = Annotated[Path, typer.Option("-i", "--index", envvar=VARIABLE, help="The index folder.")]
KnownIndexArgument = Annotated[
    Path | None, typer.Argument(help="The index folder; by default that of RAG_INDEX, or the one made last.")
]
KnownIndexOption = Annotated[
    Path | None,
    typer.Option("-i", "--index", help="The index folder; by default that of RAG_INDEX, or the one made last."),
]
IndexOrSampleOption = Annotated[
    Path | None,
    typer.Option(
        "-i", "--index", help="The index folder; by default that of RAG_INDEX, the one made last, or the sample's."
    ),
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
LlmOption = Annotated[
    str | None,
    typer.Option(
        "--llm",
        metavar="MODEL",
        help="What writes the answers: packaged, ollama:MODEL, openai:MODEL, http://HOST/v1#MODEL, or a model's name.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def settings_of(config: Path | None, overrides: list[str] | None, llm: str | None = None) -> Settings:
    """The settings of a command; with `llm` that generator, whose server is asked what it serves."""
    from rag.compute.quiet import quiet_libraries
    from rag.config import load_settings

    quiet_libraries()
    settings = load_settings(config, overrides or ())
    if llm is None:
        return settings
    from rag.build.llm import with_llm

    return with_llm(settings, llm)


def serving_of(config: Path | None, overrides: list[str] | None, index: Path, llm: str | None = None) -> Serving:
    """What serves over an index by the settings of a command."""
    settings = settings_of(config, overrides, llm)
    from rag.build.serving import serving_over

    return serving_over(settings, index)
