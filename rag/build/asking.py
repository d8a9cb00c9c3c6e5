"""One question answered by models that this process loads: what `rag ask` does where no chat answers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rag.build.pipelines import make_pipeline
from rag.build.serving import serving_over
from rag.build.side_by_side import load_side_by_side
from rag.config import Settings
from rag.generate.growing import Growing, growing
from rag.pipeline import Pipeline
from rag.retrieve.bm25 import import_for_search
from rag.types import Query


def ask_here(
    settings: Settings, folder: Path, question: str, *, stream: bool, collections: Sequence[str] | None = None
) -> Iterator[Growing]:
    """The steps of an answer; with `stream` the text comes as it is written, else the response alone.

    With `collections` it is drawn from these alone.

    Raises what `serving_over`, `make_pipeline` and the pipeline raise.
    """
    yield Growing("loading models")
    pipeline = make_pipeline(serving_over(settings, folder), interactive=True, collections=collections)
    query = Query("ask", question)
    import_for_search()
    _load(pipeline)
    pipeline.retriever.get()
    yield Growing("searching")
    if stream:
        yield from growing(pipeline.stream(query))
    else:
        (response,) = pipeline.run([query])
        yield Growing(response=response)


def _load(pipeline: Pipeline) -> None:
    """Begin to load what every question needs; the generator only where no span can answer in its place."""
    if (reading := pipeline.reading) is None:
        load_side_by_side(pipeline.generator, pipeline.reranker)
    elif reading.answer_margin is None:
        load_side_by_side(pipeline.generator, pipeline.reranker, reading.reader)
    else:
        load_side_by_side(pipeline.reranker, reading.reader)
