"""Settings read from the defaults, rag.toml, a user's own file and `--set a.b=c`, in that order."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from rag.config.sections import Settings
from rag.config.training import new_names, with_new_keys
from rag.errors import ConfigError
from rag.progress import say

DEFAULT_FILE = Path(__file__).resolve().parent.parent.parent / "rag.toml"
"""The reference of a checkout. An installed package has none, and needs none: it holds the defaults of the code."""


def load_settings(file: str | Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """The defaults of the code, then a checkout's rag.toml, then `file`, then each `section.key=value`.

    Raises ConfigError naming the key. Keys of [training] from before it was split by model are read, with a note.
    """
    layers = [_read_toml(DEFAULT_FILE)] if DEFAULT_FILE.is_file() else []
    if file is not None:
        layers.append(_read_toml(Path(file)))
    layers += [_parse_override(override) for override in overrides]
    merged: dict[str, Any] = {}
    renamed: dict[str, list[str]] = {}
    for layer in layers:
        if isinstance(training := layer.get("training"), Mapping):
            renamed |= new_names(training)
            # Layer by layer: a later layer's old key wins over an earlier layer's new one.
            layer = {**layer, "training": with_new_keys(training)}
        _merge(merged, layer)
    if renamed:
        moves = (f"{old} is now {' and '.join(new)}" for old, new in renamed.items())
        say(f"note: {'; '.join(moves)} (the old names are still read)")
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(problem) for problem in error.errors())) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, raw = text.partition("=")
    if not separator or "." not in key:
        meant = f"; did you mean {' or '.join(found)}?" if (found := _named(key.strip())) else ""
        raise ConfigError(f"--set {text!r} is not section.key=value, as in --set reranker.depth=20{meant}")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word is a string
    nested: dict[str, Any] = {}
    node = nested
    *sections, last = key.strip().split(".")
    for section in sections:
        node = node.setdefault(section, {})
    node[last] = value
    return nested


def _merge(into: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _meant(place: Sequence[str | int], parent: type[BaseModel]) -> str:
    """The setting that was probably meant, as a question: a name much like it, here or else in another section."""
    *sections, name = map(str, place)
    if near := get_close_matches(name, parent.model_fields, n=1):
        return f"; did you mean {'.'.join([*sections, *near])}?"
    return f"; did you mean {' or '.join(elsewhere)}?" if (elsewhere := _named(name)) else ""


def _named(name: str) -> list[str]:
    """The settings of a name, whatever their section."""
    sections = Settings.model_fields.items()
    return [f"{section}.{name}" for section, f in sections if name in getattr(f.annotation, "model_fields", {})]


def _sentence(problem: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        parent: Any = Settings
        for part in problem["loc"][:-1]:
            # The items of [prompts.NAME] and of a list are all of one class, whatever their name or number.
            is_collection = get_origin(parent) in (dict, list)
            parent = get_args(parent)[-1] if is_collection else parent.model_fields[part].annotation
        return f"unknown setting {key!r} (known here: {', '.join(parent.model_fields)}){_meant(problem['loc'], parent)}"
    return f"setting {key!r}: {problem['msg'].removeprefix('Value error, ')} (given: {problem['input']!r})"
