"""The prompt that the generator was trained with: what `prompt.name = "auto"` means where there is one."""

from __future__ import annotations

from pathlib import Path

from rag.config import Settings
from rag.generate.builtin import get_prompt
from rag.generate.prompts import Prompt
from rag.generate.saved import PROMPT_FILE, read_prompt
from rag.models.beside import file_beside
from rag.models.catalog import FALLBACK_GENERATOR, PACKAGED
from rag.models.promoted import what_serves
from rag.models.resolve import cached_on_hub
from rag.online import hub_answers

AUTO = "auto"


def trained_prompt(settings: Settings) -> Prompt | None:
    """The prompt that is kept beside the generator's weights; None where there is none, or a server generates.

    No model is fetched for it. Raises ModelError where it is damaged, ConfigError where it names an unknown parser.
    """
    if settings.generator.kind == "server":
        return None
    file = file_beside(what_serves(settings.generator.model), PROMPT_FILE, settings.models.source)
    if file is None and _falls_back(settings):
        file = file_beside(what_serves(FALLBACK_GENERATOR), PROMPT_FILE, settings.models.source)
    if file is None:
        return None
    saved = read_prompt(file)
    return get_prompt(saved.name, {saved.name: saved})


def _falls_back(settings: Settings) -> bool:
    """Whether something promoted in the place of the packaged generator serves, as the one named is out of reach."""
    name = what_serves(settings.generator.model)
    if settings.models.source != "auto" or name in PACKAGED or Path(name).expanduser().is_dir():
        return False
    # Most have promoted nothing: then there is no prompt to find, and the hub need not be asked.
    if what_serves(FALLBACK_GENERATOR) == FALLBACK_GENERATOR or cached_on_hub(name) is not None:
        return False
    return not hub_answers()
