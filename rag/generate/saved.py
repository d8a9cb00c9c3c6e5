"""The prompt that a model was trained with, kept in the model's folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

from rag.errors import ModelError
from rag.files import read_json, write_json
from rag.generate.builtin import BUILT_IN
from rag.generate.prompts import AnswersIn, Prompt

PROMPT_FILE = "rag_prompt.json"
TEXTS = ("name", "system", "user", "parser")
ALONG = ("answers_in", "sentence_margin", "max_new_tokens")
"""What goes along with a prompt. Files that were written before it did lack it."""


def save_prompt(prompt: Prompt, folder: Path) -> None:
    """Write down in a model's folder what it is to be asked with."""
    stored = {field: getattr(prompt, field) for field in (*TEXTS, *ALONG)}
    write_json(folder / PROMPT_FILE, stored)


def read_prompt(file: Path) -> Prompt:
    """The prompt that `save_prompt` wrote. Raises ModelError where the file is missing or damaged."""
    fix = "name a prompt (--set prompt.name=extract-v1), or get the model again"
    stored = read_json(file, ModelError, fix=fix)
    if not all(isinstance(stored.get(field), str) for field in TEXTS):
        raise ModelError(f"{file} holds no prompt (its fields are {', '.join(TEXTS)}); {fix}")
    prompt = Prompt(**{field: stored[field] for field in TEXTS})
    known = BUILT_IN.get(prompt.name)
    if known is not None and known.sha256() == prompt.sha256():
        prompt = dataclasses.replace(known, parser=prompt.parser)
    along = {field: stored[field] for field in ALONG if field in stored}
    if not _is_sound(along):
        raise ModelError(f"{file} holds a prompt with wrong values ({along}); {fix}")
    return dataclasses.replace(prompt, **along)


def _is_sound(along: dict[str, Any]) -> bool:
    """Whether the values are of the kinds that `Prompt` has."""
    margin, n_tokens = along.get("sentence_margin", 0.0), along.get("max_new_tokens", 1)
    return (
        along.get("answers_in", "phrase") in get_args(AnswersIn)
        and type(margin) in (int, float)
        and margin >= 0
        and type(n_tokens) is int
        and n_tokens > 0
    )
