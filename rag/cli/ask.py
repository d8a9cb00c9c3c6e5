"""Commands that ask: search, ask."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.cli.options import (
    ConfigOption,
    IndexOption,
    JsonOption,
    QuestionArgument,
    SetOption,
    print_json,
    settings_of,
)

app = typer.Typer()


@app.command()
def search(
    question: QuestionArgument,
    index: IndexOption,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 10,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages found for a question, without reranking."""
    from rag.build.retrievers import make_retriever
    from rag.cli.lines import hit_json, hit_lines

    hits = make_retriever(settings_of(config, set_), index).retrieve([question], k)[0]
    if as_json:
        print_json([hit_json(hit, rank) for rank, hit in enumerate(hits, 1)])
    else:
        print("\n\n".join(hit_lines(hit, rank) for rank, hit in enumerate(hits, 1)) or "No passage shares a word.")


@app.command()
def ask(
    question: QuestionArgument,
    index: IndexOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one question with its sources."""
    from rag.build.pipelines import make_pipeline
    from rag.cli.lines import response_json, response_lines
    from rag.types import Query

    pipeline = make_pipeline(settings_of(config, set_), index, interactive=True)
    (response,) = pipeline.run([Query("ask", question)])
    if as_json:
        print_json(response_json(response))
    else:
        print("\n".join(response_lines(response)))
