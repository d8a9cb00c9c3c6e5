"""The models that a chat offers to answer: the usual one, those of `serving.models`, and always the packaged one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import overload

from rag.build.chosen_prompt import answer_margin_of
from rag.build.llm import PACKAGED_NAME, label_of, with_llm
from rag.build.parts import make_generator, make_prompt
from rag.build.pipelines import sentence_margin
from rag.config import GeneratorSettings, Settings
from rag.lazy import Lazy
from rag.models.cache import cached_model
from rag.models.catalog import FALLBACK_GENERATOR
from rag.models.promoted import what_serves
from rag.models.resolve import cached_on_hub, rag_home
from rag.online import hub_answers
from rag.pipeline import Reading
from rag.serve.page_parts import Model
from rag.serve.writers import Writer

OF_A_CHOICE = ("server_url", "server_api_key_variable", "server_reasoning", "context_window_tokens")
"""What belongs to the usual generator, and follows from the choice of another one."""


def offered_writers(settings: Settings, usual: Writer) -> dict[str, Lazy[Writer]]:
    """What may write answers in the place of the usual one, by its name. A server is asked at the first use."""
    return {name: Lazy(partial(_writer, settings, name, usual)) for name in _names(settings)}


def _writer(settings: Settings, name: str, usual: Writer) -> Writer:
    if name == PACKAGED_NAME and _is_packaged(settings):
        return usual
    return make_writer(settings, name, usual.reading)


def make_writer(settings: Settings, name: str, reading: Reading | None) -> Writer:
    """A generator by its name, with its prompt. `reading` is the span reader that the usual one has, too.

    Raises what `with_llm` raises.
    """
    usual = GeneratorSettings()
    reset = {field: getattr(usual, field) for field in OF_A_CHOICE}
    plain = settings.model_copy(update={"generator": settings.generator.model_copy(update=reset)})
    chosen = with_llm(plain, name)
    prompt = make_prompt(chosen)
    if reading is not None:
        reading = dataclasses.replace(reading, answer_margin=answer_margin_of(chosen, prompt))
    generator = Lazy(lambda: make_generator(chosen, interactive=True))
    return Writer(generator, prompt, sentence_margin(chosen), reading)


class Offered(Sequence[Model]):
    """The models as a person chooses among them. The first is the usual one, whose name is empty.

    They are listed when somebody first looks: what stands in for a model that cannot be reached may have to be asked.
    """

    def __init__(self, settings: Settings):
        self._settings = settings

    def __len__(self) -> int:
        return len(self._models)

    @overload
    def __getitem__(self, index: int) -> Model: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Model]: ...

    def __getitem__(self, index: int | slice) -> Model | Sequence[Model]:
        return self._models[index]

    @functools.cached_property
    def _models(self) -> list[Model]:
        names = _names(self._settings)
        if _is_packaged(self._settings):
            names.remove(PACKAGED_NAME)
        return [Model("", _usual_label(self._settings)), *(Model(name, label_of(name)) for name in names)]


def offered_models(settings: Settings) -> Offered:
    """The models that a person may choose."""
    return Offered(settings)


def _names(settings: Settings) -> list[str]:
    """The names of the models beside the usual one: as the settings list them, then the packaged one."""
    return list(dict.fromkeys([*settings.serving.models, PACKAGED_NAME]))


def _usual_label(settings: Settings) -> str:
    if settings.generator.kind == "server":
        return label_of(f"{settings.generator.server_url}#{settings.generator.model}")
    return label_of(PACKAGED_NAME if _is_packaged(settings) else settings.generator.model)


def _is_packaged(settings: Settings) -> bool:
    """Whether the usual generator is the packaged one, or it stands in for one that cannot be reached.

    Nothing is fetched for it (`rag.models.resolve.resolve_generator` decides so).
    """
    chosen, source = settings.generator, settings.models.source
    name = what_serves(chosen.model)
    if chosen.kind == "server" or name == FALLBACK_GENERATOR:
        return chosen.kind != "server"
    is_here = Path(name).expanduser().is_dir() or cached_model(rag_home(), name) is not None
    return not is_here and source == "auto" and cached_on_hub(name) is None and not hub_answers()
