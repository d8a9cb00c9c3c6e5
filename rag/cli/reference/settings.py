"""rag.toml and docs/settings.md, from the fields of the settings."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from rag.config import PromptTemplate, Settings

WIDTH = 110
FILE_HEAD = """\
# Every setting with its default. This file is written by `python -m rag.cli.reference`.
# A file of your own needs only what differs: rag ask "…" -i INDEX --config my.toml
# One value for one command: rag ask "…" -i INDEX --set reranker.depth=20
# A changed value in this file applies to every command that runs from this checkout.
"""
PAGE_HEAD = """\
# Settings

This page is written by `python -m rag.cli.reference` from the code.

Every command reads its settings from these places. A later one wins:

1. the defaults below;
2. `rag.toml`, if you run from a checkout;
3. a file of your own: `--config my.toml`, which needs only what differs;
4. single values: `--set reranker.depth=20`, which may be repeated.

An unknown key is an error. A value is written as in TOML; a bare word is a text.

```toml
# my.toml
[reranker]
depth = 20
```

Older files have the keys of training directly under `[training]`. They are still read, with a note that names the new
keys. Each applies to both kinds of model, or to the one that knows it.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: its default (None where it has none), an example for those, the values it takes, and what it does."""

    name: str
    default: object
    example: object
    values: str
    choices: tuple[str, ...]
    description: str


def settings_file() -> str:
    """rag.toml: a valid file of settings that holds the defaults. Keys without a default are commented out."""
    blocks = [FILE_HEAD]
    for name, section in _sections(Settings):
        lines = [f"[{name}]", *_comment(_first_paragraph(section)), ""]
        for setting in _settings(section):
            lines += [*_comment(_explained(setting)), _assignment(setting), ""]
        blocks.append("\n".join(lines))
    return "\n".join([*blocks, _own_prompt()])


def settings_page() -> str:
    """docs/settings.md: a table for each section."""
    blocks = [PAGE_HEAD]
    sections: list[tuple[str, type[BaseModel]]] = [*_sections(Settings), ("prompts.NAME", PromptTemplate)]
    for name, section in sections:
        unset = "the recipe's" if name.startswith("training.") else "not set"
        lines = [f"## `[{name}]`", "", _first_paragraph(section), ""]
        lines += ["| key | default | values | meaning |", "|---|---|---|---|"]
        for setting in _settings(section):
            default = unset if setting.default is None else f"`{_toml(setting.default)}`"
            default = "required" if section.model_fields[setting.name].is_required() else default
            lines.append(f"| `{setting.name}` | {default} | {setting.values} | {setting.description} |")
        blocks.append("\n".join([*lines, ""]))
    return "\n".join(blocks)


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections that hold keys, in order, by their dotted names."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if not (inspect.isclass(section) and issubclass(section, BaseModel)):
            continue
        if any(True for _ in _settings(section)):
            yield prefix + name, section
        yield from _sections(section, f"{prefix}{name}.")


def _settings(section: type[BaseModel]) -> Iterator[Setting]:
    for name, schema in section.model_json_schema()["properties"].items():
        if "$ref" in schema:
            continue  # a section of its own
        value = next((one for one in schema.get("anyOf", []) if one.get("type") != "null"), schema)
        examples = section.model_fields[name].examples or [None]
        yield Setting(
            name,
            schema.get("default"),
            examples[0],
            _values(value),
            tuple(value.get("enum", ())),
            schema["description"],
        )


def _values(schema: Mapping) -> str:
    """The values that a setting takes, in words."""
    if choices := schema.get("enum"):
        return ", ".join(f"`{choice}`" for choice in choices)
    kinds = {
        "integer": "whole number",
        "number": "number",
        "boolean": "`true`, `false`",
        "string": "text",
        "array": "list",
    }
    limits = [
        f"{word} {schema[key]:g}"
        for key, word in (
            ("exclusiveMinimum", "above"),
            ("minimum", "from"),
            ("exclusiveMaximum", "below"),
            ("maximum", "up to"),
        )
        if key in schema
    ]
    return " ".join([kinds[schema["type"]], *limits])


def _first_paragraph(section: type[BaseModel]) -> str:
    return " ".join(inspect.cleandoc(section.__doc__ or "").split("\n\n")[0].split())


def _explained(setting: Setting) -> str:
    choices = f" One of: {', '.join(setting.choices)}." if setting.choices else ""
    return setting.description + choices


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False, break_long_words=False)]


def _assignment(setting: Setting) -> str:
    if setting.default is None:
        return f"# {setting.name} = {_toml(setting.example)}"
    return f"{setting.name} = {_toml(setting.default)}"


def _own_prompt() -> str:
    """An example of a prompt of the user's own, commented out."""
    lines = ["# [prompts.mine]", *_comment(_first_paragraph(PromptTemplate))]
    for setting in _settings(PromptTemplate):
        value = setting.default if setting.example is None else setting.example
        lines += ["#", *_comment(_explained(setting)), f"# {setting.name} = {_toml(value)}"]
    return "\n".join([*lines, ""])


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-")
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)
