"""The prompt that the generator was trained with: what `prompt.name = "auto"` means."""

from __future__ import annotations

from pathlib import Path

from rag.config import Settings
from rag.generate.builtin import get_prompt
from rag.generate.prompts import Prompt
from rag.generate.saved import PROMPT_FILE, read_prompt
from rag.models.adapters import FILES, is_adapter, packaged_adapter
from rag.models.cache import cached_model
from rag.models.catalog import FALLBACK_GENERATOR, PACKAGED
from rag.models.hub import hub_answers
from rag.models.promoted import what_serves
from rag.models.resolve import cached_on_hub, rag_home

AUTO = "auto"
UNTRAINED = "extract-v1"
"""What a generator is asked with that was not trained with a prompt of this kind: a small model copies a phrase."""


def trained_prompt(settings: Settings) -> Prompt | None:
    """The prompt that is kept beside the generator's weights; None where there is none, or a server generates.

    No model is fetched for it. Raises ModelError where it is damaged, ConfigError where it names an unknown parser.
    """
    if settings.generator.kind == "server":
        return None
    file = _prompt_file(what_serves(settings.generator.model), settings.models.source)
    if file is None and _falls_back(settings):
        file = _prompt_file(what_serves(FALLBACK_GENERATOR), settings.models.source)
    if file is None:
        return None
    saved = read_prompt(file)
    return get_prompt(saved.name, {saved.name: saved})


def _prompt_file(name: str, source: str) -> Path | None:
    """The file of the prompt in a model's folder, or in an adapter of which the model can be made."""
    if Path(name).expanduser().is_dir():
        return _in(Path(name).expanduser())
    if (adapter := packaged_adapter(name)) is not None:
        return adapter.files().get(PROMPT_FILE)
    if source in ("auto", "hub") and (cached := cached_on_hub(name)) is not None:
        return _in(cached.folder)
    if source in ("auto", "packages") and (made := cached_model(rag_home(), name)) is not None:
        return _in(made)
    return None


def _in(folder: Path) -> Path | None:
    file = (folder / FILES if is_adapter(folder) else folder) / PROMPT_FILE
    return file if file.is_file() else None


def _falls_back(settings: Settings) -> bool:
    """Whether something promoted in the place of the packaged generator serves, as the one named is out of reach."""
    name = what_serves(settings.generator.model)
    if settings.models.source != "auto" or name in PACKAGED or Path(name).expanduser().is_dir():
        return False
    # Most have promoted nothing: then there is no prompt to find, and the hub need not be asked.
    if what_serves(FALLBACK_GENERATOR) == FALLBACK_GENERATOR or cached_on_hub(name) is not None:
        return False
    return not hub_answers()
