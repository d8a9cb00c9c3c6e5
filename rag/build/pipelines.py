"""The whole pipeline over an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag.build.chosen_prompt import answer_margin_of, sentence_margin_of
from rag.build.english import knows_latin_alone
from rag.build.parts import make_generator, make_prompt
from rag.build.serving import Serving
from rag.config import Settings
from rag.errors import ConfigError
from rag.generate.prompts import Prompt
from rag.lazy import Lazy
from rag.pipeline import Depths, Mixing, Pipeline, Reading
from rag.types import Compares


def make_pipeline(serving: Serving, *, interactive: bool, collections: Sequence[str] | None = None) -> Pipeline:
    """The whole pipeline over what serves; nothing heavy is loaded until it is first used.

    `interactive` chooses the generator for one question at a time, else for batches. With `collections` only these are
    searched.
    """
    settings = serving.settings
    if settings.reranker.enabled and settings.reranker.depth > settings.retriever.depth:
        raise ConfigError(
            f"reranker.depth is {settings.reranker.depth}, but only {settings.retriever.depth} passages are retrieved; "
            f"--set reranker.depth={settings.retriever.depth}, or --set retriever.depth={settings.reranker.depth}"
        )
    prompt = make_prompt(settings)
    retriever = Lazy(serving.retriever if collections is None else lambda: serving.retriever(collections))
    both = Lazy(serving.retrievers)
    mixing = mixing_of(settings, lambda: both.get().closeness())
    if mixing is not None:  # they share encoder and vectors, which then stay in memory
        retriever = Lazy(lambda: both.get().get(settings.retriever.kind, collections))
    return Pipeline(
        retriever,
        Lazy(serving.load_reranker),
        Lazy(lambda: make_generator(settings, interactive=interactive)),
        prompt,
        depths=depths_of(settings),
        order=settings.prompt.order,
        sentence_margin=sentence_margin(settings),
        rerank_threshold=serving.rerank_threshold,
        reading=reading_of(serving, prompt),
        checks_support=checks_support(settings),
        latin_alone=knows_latin_alone(settings),
        mixing=mixing,
    )


def mixing_of(settings: Settings, closeness: Callable[[], Compares]) -> Mixing | None:
    """How cosines count beside the reranker; None where they do not, or there is none."""
    weight = settings.reranker.cosine_weight if settings.reranker.enabled else 0.0
    return Mixing(closeness, weight) if weight else None


def reading_of(serving: Serving, prompt: Prompt) -> Reading | None:
    """The span reader of the settings, loaded when it first reads; None where none reads.

    Where no margin is set from which on a span is the answer, `prompt` decides (`rag.build.chosen_prompt`).
    """
    if serving.reader is None:
        return None
    settings = serving.settings
    return Reading(Lazy(serving.load_reader), settings.reader.depth, answer_margin_of(settings, prompt))


def depths_of(settings: Settings) -> Depths:
    """How many passages pass from step to step."""
    return Depths(settings.retriever.depth, settings.reranker.depth, settings.prompt.contexts)


def sentence_margin(settings: Settings) -> float | None:
    """None where whole passages are shown: so set, or no reranker to choose sentences by."""
    return (sentence_margin_of(settings) or None) if settings.reranker.enabled else None


def checks_support(settings: Settings) -> bool:
    """Whether answers are compared with what they cite: so set, and there is a reranker to score them."""
    return settings.support.enabled and settings.reranker.enabled
