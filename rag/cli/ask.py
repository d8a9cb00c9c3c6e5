"""Commands that ask: search, ask."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.cli.options import (
    ConfigOption,
    IndexOrSampleOption,
    JsonOption,
    QuestionArgument,
    SetOption,
    index_or_sample,
    print_json,
    settings_of,
)

PANEL = "Ask"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def search(
    question: QuestionArgument,
    index: IndexOrSampleOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 10,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages found for a question, best first, without reranking."""
    from rag.build.serving import serving_over
    from rag.cli.lines import hit_json, hit_lines

    settings = settings_of(config, set_)
    serving = serving_over(settings, index_or_sample(settings, index))
    hits = serving.retriever().retrieve([question], k)[0]
    if as_json:
        print_json([hit_json(hit, rank) for rank, hit in enumerate(hits, 1)])
    elif hits:
        print("\n\n".join(hit_lines(hit, rank) for rank, hit in enumerate(hits, 1)))
    else:
        print("No passage was found: none shares a word with the question.")


@app.command(rich_help_panel=PANEL)
def ask(
    question: QuestionArgument,
    index: IndexOrSampleOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one question, with its sources."""
    from rag.build.pipelines import make_pipeline
    from rag.build.serving import serving_over
    from rag.build.side_by_side import load_side_by_side
    from rag.cli.lines import response_json, response_lines
    from rag.types import Query

    settings = settings_of(config, set_)
    pipeline = make_pipeline(serving_over(settings, index_or_sample(settings, index)), interactive=True)
    if (reading := pipeline.reading) is None:
        load_side_by_side(pipeline.generator, pipeline.reranker)
    elif reading.answer_margin is None:
        load_side_by_side(pipeline.generator, pipeline.reranker, reading.reader)
    else:  # a span may answer; if the generator is needed, it is loaded then
        load_side_by_side(pipeline.reranker, reading.reader)
    (response,) = pipeline.run([Query("ask", question)])
    if as_json:
        print_json(response_json(response))
    else:
        print("\n".join(response_lines(response)))
