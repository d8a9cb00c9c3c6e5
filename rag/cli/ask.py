"""Commands that ask: ask, search."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.chosen import index_or_sample, index_to_ask
from rag.cli.options import (
    USE,
    ConfigOption,
    IndexOrSampleOption,
    JsonOption,
    LlmOption,
    QuestionArgument,
    SetOption,
    example,
    settings_of,
)
from rag.cli.stopping import all_is_said
from rag.cli.within import AsOption, AuthOption, CollectionOption, collections_of
from rag.terminal import VERBOSE, show, show_json, tell

if TYPE_CHECKING:
    from rag.config import Settings
    from rag.generate.growing import Growing

app = typer.Typer()


@app.command(rich_help_panel=USE, epilog=example("rag ask 'When does the ferry leave?' -i my.index"))
def ask(
    question: QuestionArgument,
    index: IndexOrSampleOption = None,
    use_chat: Annotated[
        bool, typer.Option("--chat/--no-chat", help="Let a running rag chat over the same index answer, or not.")
    ] = True,
    collection: CollectionOption = None,
    person: AsOption = None,
    auth: AuthOption = None,
    llm: LlmOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one question, with its sources.

    Where rag chat runs over the same index, by the same settings, its models answer, which are loaded already. The
    answer is the same.
    """
    from rag.cli.asking import show_answer

    settings = settings_of(config, set_, llm)
    folder, is_sample = index_to_ask(index)
    within = collections_of(folder, collection, person, auth)
    streams = not as_json and sys.stdout.isatty()
    steps = _steps(
        settings, folder, question, within, is_sample=is_sample, use_chat=use_chat and within is None, streams=streams
    )
    show_answer(steps, as_json=as_json, streams=streams)
    all_is_said()


def _steps(
    settings: Settings,
    folder: Path,
    question: str,
    within: tuple[str, ...] | None,
    *,
    is_sample: bool,
    use_chat: bool,
    streams: bool,
) -> Generator[Growing, None, None]:
    """The steps of an answer: by a chat that runs, else by models that are loaded here."""
    if use_chat:
        from rag.serve.nearby_client import Gone, ask_nearby

        try:
            yield from ask_nearby(folder, settings, question)
            return
        except Gone:
            tell("no rag chat runs over this index by these settings: loading the models", level=VERBOSE)
    from rag.build.asking import ask_here

    folder = index_or_sample(settings, None if is_sample else folder)
    yield from ask_here(settings, folder, question, stream=streams, collections=within)


@app.command(rich_help_panel=USE, epilog=example("rag search 'ferry timetable' -i my.index -k 5"))
def search(
    question: QuestionArgument,
    index: IndexOrSampleOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 10,
    collection: CollectionOption = None,
    person: AsOption = None,
    auth: AuthOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages found for a question, best first, without reranking."""
    from rag.build.serving import serving_over
    from rag.cli.asking import show_hits
    from rag.retrieve.bm25 import import_for_search

    settings = settings_of(config, set_)
    serving = serving_over(settings, index_or_sample(settings, index))
    within = collections_of(serving.index_folder, collection, person, auth)
    import_for_search()
    hits = serving.retriever(within).retrieve([question], k)[0]
    if as_json:
        from rag.cli.lines import hit_json

        show_json([hit_json(hit, rank) for rank, hit in enumerate(hits, 1)])
    elif hits:
        show_hits(hits)
    else:
        show("No passage was found: none shares a word with the question.")
    all_is_said()
