"""The whole pipeline over an index."""

from __future__ import annotations

from rag.build.parts import make_generator, make_prompt
from rag.build.serving import Serving
from rag.config import Settings
from rag.errors import ConfigError
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline, Reading


def make_pipeline(serving: Serving, *, interactive: bool) -> Pipeline:
    """The whole pipeline over what serves; nothing heavy is loaded until it is first used.

    `interactive` chooses the generator for one question at a time, else for batches.
    """
    settings = serving.settings
    if settings.reranker.enabled and settings.reranker.depth > settings.retriever.depth:
        raise ConfigError(
            f"reranker.depth is {settings.reranker.depth}, but only {settings.retriever.depth} passages are retrieved; "
            f"--set reranker.depth={settings.retriever.depth}, or --set retriever.depth={settings.reranker.depth}"
        )
    return Pipeline(
        Lazy(serving.retriever),
        Lazy(serving.load_reranker),
        Lazy(lambda: make_generator(settings, interactive=interactive)),
        make_prompt(settings),
        depths=depths_of(settings),
        order=settings.prompt.order,
        sentence_margin=sentence_margin(settings),
        rerank_threshold=serving.rerank_threshold,
        reading=reading_of(serving),
    )


def reading_of(serving: Serving) -> Reading | None:
    """The span reader of the settings, loaded when it first reads; None where none reads."""
    if serving.reader is None:
        return None
    chosen = serving.settings.reader
    return Reading(Lazy(serving.load_reader), chosen.depth, chosen.answer_margin)


def depths_of(settings: Settings) -> Depths:
    """How many passages pass from step to step."""
    return Depths(settings.retriever.depth, settings.reranker.depth, settings.prompt.contexts)


def sentence_margin(settings: Settings) -> float | None:
    """None where whole passages are shown: so set, or no reranker to choose sentences by."""
    return (settings.prompt.sentence_margin or None) if settings.reranker.enabled else None
