"""The prompt that the settings mean, and what goes along with it where they leave it open.

A trained model is asked with the prompt of its training. Of the others, small ones copy a phrase (`extract-v1`). Large
ones, and those that a server runs, see whole passages and answer in sentences with citations (`cited-v2`).
"""

from __future__ import annotations

import dataclasses
import math

from rag.build.trained_prompt import AUTO, trained_prompt
from rag.config import PromptTemplate, Settings
from rag.config.reader import ANSWER_MARGIN
from rag.files import json_if_sound
from rag.generate.builtin import IN_FULL, get_prompt
from rag.generate.prompts import Prompt, WorkedExample
from rag.models.beside import file_beside
from rag.models.promoted import what_serves
from rag.models.size import billions_named, count_parameters
from rag.online import hub_answers

FOR_SMALL, FOR_LARGE = "extract-v1", "cited-v2"
LARGE_BILLIONS = 3.0
"""From here on a model is large. The largest that was measured here has 1.5 and is best at copying a phrase."""
SHARE_OF_WINDOW = 4
"""The room for an answer that comes with a prompt takes at most one part in this many of the generator's window."""


def choose_prompt(settings: Settings) -> Prompt:
    """The prompt of the settings, without demonstrations. No model is fetched for it.

    Raises ConfigError for an unknown name, ModelError where the prompt beside a trained model is damaged.
    """
    own = {name: _own_prompt(name, template) for name, template in settings.prompts.items()}
    name = settings.prompt.name
    if name != AUTO or AUTO in own:
        return get_prompt(name, own)
    if (trained := trained_prompt(settings)) is not None:
        return trained
    return get_prompt(FOR_LARGE if _is_served_or_large(settings) else FOR_SMALL, own)


def sentence_margin_of(settings: Settings, prompt: Prompt | None = None) -> float:
    """How far below the best sentence others are shown, in logits; 0: whole passages. As set, else by the prompt.

    The prompt is the one given, else the one that the settings mean.
    """
    margin = settings.prompt.sentence_margin
    return (prompt or choose_prompt(settings)).sentence_margin if margin is None else margin


def max_new_tokens_of(settings: Settings, prompt: Prompt | None = None) -> int:
    """The longest answer in tokens: as set, else by the prompt, within its share of the window."""
    chosen = settings.generator
    if chosen.max_new_tokens is not None:
        return chosen.max_new_tokens
    share = max(chosen.context_window_tokens // SHARE_OF_WINDOW, get_prompt(FOR_SMALL).max_new_tokens)
    return min((prompt or choose_prompt(settings)).max_new_tokens, share)


def answer_margin_of(settings: Settings, prompt: Prompt | None = None) -> float | None:
    """From which margin on a span is the answer, in logits: as set, else by the prompt; None: never.

    Where the prompt asks for a phrase, a sure span is one. Where it asks for sentences, no span is the answer.
    """
    margin = settings.reader.answer_margin
    if margin is not None:
        return None if math.isinf(margin) else margin
    return ANSWER_MARGIN if (prompt or choose_prompt(settings)).answers_in == "phrase" else None


def settled(settings: Settings, prompt: Prompt | None = None) -> Settings:
    """The settings with everything set that the prompt decides: the one given, else the one that they mean."""
    prompt = prompt or choose_prompt(settings)
    along = {
        "prompt": {"sentence_margin": sentence_margin_of(settings, prompt)},
        "generator": {"max_new_tokens": max_new_tokens_of(settings, prompt)},
        "reader": {"answer_margin": answer_margin_of(settings, prompt)},
    }
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=values) for name, values in along.items()}
    )


def _own_prompt(name: str, template: PromptTemplate) -> Prompt:
    """A prompt of the user's own."""
    prompt = Prompt(
        name=name,
        system=template.system,
        user=template.user,
        parser=template.parser,
        examples=tuple(WorkedExample(tuple(e.passages), e.question, e.answer) for e in template.examples),
        answers_in=template.answers_in,
    )
    return dataclasses.replace(prompt, **IN_FULL) if template.answers_in == "sentences" else prompt


def _is_served_or_large(settings: Settings) -> bool:
    """Whether a server generates, or a model of at least `LARGE_BILLIONS`.

    The size is that in the model's config.json. A model that is not here yet is taken at its name.
    """
    if settings.generator.kind == "server":
        return True
    name, source = what_serves(settings.generator.model), settings.models.source
    if (file := file_beside(name, "config.json", source)) is not None:
        n = count_parameters(json_if_sound(file) or {})
        return n is not None and n >= LARGE_BILLIONS * 1e9
    if (billions_named(name) or 0.0) < LARGE_BILLIONS:
        return False
    # Where the hub cannot be reached, the packaged generator stands in for the model, and that one is small.
    return source != "auto" or hub_answers()
