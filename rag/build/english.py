"""What differs over passages in another language than English, and for questions in another script.

Models that know English alone are left out: the default reranker and the default span reader, whatever was promoted in
their place. One that the settings name is trusted. Without a reranker the retriever's order stays, whole passages are
shown, nothing is refused by score, and answers are not compared with what they cite.
"""

from __future__ import annotations

import functools
from pathlib import Path

from rag.config import Settings
from rag.config.reader import ReaderSettings
from rag.config.section import Section
from rag.config.sections import RetrieverSettings
from rag.index.language import language_name
from rag.index.manifest import Manifest
from rag.languages import ENGLISH
from rag.models.adapters import untuned
from rag.models.catalog import UNTUNED_RERANKER
from rag.progress import say

BM25_WEIGHT = 0.3
"""Of BM25 in the fusion over other languages: best on dev over German, Chinese and Japanese together."""


def understood(settings: Settings, manifest: Manifest, index_folder: str | Path) -> Settings:
    """The settings without models that do not know the language of an index; says which are left out.

    BM25 counts less, where its weight is the default: the fused order is the last one then.
    """
    if manifest.language == ENGLISH:
        return settings
    if settings.retriever.bm25_weight == RetrieverSettings().bm25_weight:
        lighter = settings.retriever.model_copy(update={"bm25_weight": BM25_WEIGHT})
        settings = settings.model_copy(update={"retriever": lighter})
    left_out: dict[str, Section] = {}
    if settings.reranker.enabled and _is_english_reranker(settings):
        left_out["reranker"] = settings.reranker.model_copy(update={"enabled": False})
    if settings.reader.enabled and settings.reader.model == ReaderSettings().model:
        left_out["reader"] = settings.reader.model_copy(update={"enabled": False})
    if not left_out:
        return settings
    _say_left_out(str(index_folder), manifest.language, tuple(left_out))
    return settings.model_copy(update=left_out)


def knows_latin_alone(settings: Settings) -> bool:
    """Whether reranker and reader are not to be asked questions in other than Latin letters."""
    return settings.reranker.enabled and _is_english_reranker(settings)


def _is_english_reranker(settings: Settings) -> bool:
    """The packaged reranker, or what was tuned of it: these know English alone."""
    model = settings.reranker.model
    return UNTUNED_RERANKER in (model, untuned(model))


@functools.cache
def _say_left_out(index_folder: str, language: str, left_out: tuple[str, ...]) -> None:
    names = " and ".join(f"the {name}" for name in left_out)
    knows, instead = ("know", "multilingual ones") if len(left_out) > 1 else ("knows", "a multilingual one")
    choices = " ".join(f"--set {name}.model=NAME" for name in left_out)
    say(
        f"{index_folder} is in {language_name(language)}, and {names} {knows} English alone: not used; name {instead} "
        f"({choices}), or --set index.language=english with the next `rag index` or `rag ingest`"
    )
