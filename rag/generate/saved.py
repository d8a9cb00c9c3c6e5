"""The prompt that a model was trained with, kept in the model's folder."""

from __future__ import annotations

from pathlib import Path

from rag.errors import ModelError
from rag.files import read_json, write_json
from rag.generate.prompts import Prompt

PROMPT_FILE = "rag_prompt.json"


def save_prompt(prompt: Prompt, folder: Path) -> None:
    """Write down in a model's folder what it is to be asked with."""
    stored = {"name": prompt.name, "system": prompt.system, "user": prompt.user, "parser": prompt.parser}
    write_json(folder / PROMPT_FILE, stored)


def read_prompt(file: Path) -> Prompt:
    """The prompt that `save_prompt` wrote. Raises ModelError where the file is missing or damaged."""
    fix = "name a prompt (--set prompt.name=extract-v1), or get the model again"
    stored = read_json(file, ModelError, fix=fix)
    fields = ("name", "system", "user", "parser")
    if not all(isinstance(stored.get(field), str) for field in fields):
        raise ModelError(f"{file} holds no prompt (its fields are {', '.join(fields)}); {fix}")
    return Prompt(name=stored["name"], system=stored["system"], user=stored["user"], parser=stored["parser"])
