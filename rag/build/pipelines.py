"""The whole pipeline over an index."""

from __future__ import annotations

from pathlib import Path

from rag.build.parts import make_generator, make_prompt, make_reranker
from rag.build.retrievers import make_retriever
from rag.build.threshold import rerank_threshold
from rag.config import Settings
from rag.errors import ConfigError
from rag.index.folder import serving_manifest
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline


def make_pipeline(settings: Settings, index_folder: str | Path, *, interactive: bool) -> Pipeline:
    """The whole pipeline over an index; nothing heavy is loaded until it is first used."""
    serving_manifest(index_folder)  # a wrong index should fail before any model loads
    if settings.reranker.enabled and settings.reranker.depth > settings.retriever.depth:
        raise ConfigError(
            f"reranker.depth is {settings.reranker.depth}, but only {settings.retriever.depth} passages are retrieved; "
            f"--set reranker.depth={settings.retriever.depth}, or --set retriever.depth={settings.reranker.depth}"
        )
    return Pipeline(
        Lazy(lambda: make_retriever(settings, index_folder)),
        Lazy(lambda: make_reranker(settings)),
        Lazy(lambda: make_generator(settings, interactive=interactive)),
        make_prompt(settings),
        depths=Depths(settings.retriever.depth, settings.reranker.depth, settings.prompt.contexts),
        order=settings.prompt.order,
        sentence_margin=sentence_margin(settings),
        rerank_threshold=rerank_threshold(settings, index_folder),
    )


def sentence_margin(settings: Settings) -> float | None:
    """None where whole passages are shown: so set, or no reranker to choose sentences by."""
    return (settings.prompt.sentence_margin or None) if settings.reranker.enabled else None
