"""docs/cli.md, from the commands of the `rag` program: their signatures, help texts and defaults."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from typer import Typer
from typer.models import ArgumentInfo, OptionInfo

PAGE_HEAD = """\
# Commands

This page is written by `python -m rag.cli.reference` from the code.
`rag --help` and `rag COMMAND --help` (or `-h`) show the same, with an example for each, and `rag --version` the
version.

Results go to stdout, progress and notes to stderr. `-q` leaves out progress and notes, `-v` says more.
Exit status 0 means success, 1 an error with its reason on stderr, 2 a wrong call, 3 done in part (`rag ingest`), 130
that Ctrl+C ended it.
"""
METAVARS: dict[object, str] = {Path: "PATH", str: "TEXT", int: "INTEGER", float: "NUMBER"}


@dataclass(frozen=True, slots=True)
class Command:
    """A command by its whole name, such as `rag train retriever`."""

    name: str
    panel: str
    call: Callable[..., object]


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument or option: `short` as it stands in a usage line, `shown` with all its names."""

    short: str
    shown: str
    is_option: bool
    is_required: bool
    default: str
    help: str


def commands_page() -> str:
    """docs/cli.md: every command with usage, arguments, options and defaults, in the groups of `rag --help`."""
    from rag.cli.main import app

    panels: dict[str, list[Command]] = {}
    for command in _commands(app, "rag"):
        panels.setdefault(command.panel, []).append(command)
    overview = ["| | command | |", "|---|---|---|"]
    for panel, commands in panels.items():
        for command in commands:
            label = panel if command is commands[0] else ""
            anchor = command.name.replace(" ", "-")
            overview.append(f"| {label} | [`{command.name}`](#{anchor}) | {_paragraphs(command.call)[0]} |")
    blocks = [PAGE_HEAD, "\n".join([*overview, ""])]
    for panel, commands in panels.items():
        blocks += [f"## {panel}\n", *(_section(command) for command in commands)]
    return "\n".join(blocks)


def _commands(app: Typer, name: str, panel: str = "") -> Iterator[Command]:
    """The commands of an app in the order of its help, those of its groups among them."""
    for info in app.registered_commands:
        if info.callback is not None:
            own_name = info.name or info.callback.__name__.replace("_", "-")
            own_panel = info.rich_help_panel if isinstance(info.rich_help_panel, str) else panel
            yield Command(f"{name} {own_name}", own_panel, info.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            own_panel = group.rich_help_panel if isinstance(group.rich_help_panel, str) else panel
            yield from _commands(group.typer_instance, f"{name} {group.name}" if group.name else name, own_panel)


def _section(command: Command) -> str:
    parameters = list(_parameters(command.call))
    arguments = [one for one in parameters if not one.is_option]
    options = [one for one in parameters if one.is_option]
    usage = [command.name, *(one.short for one in arguments), *(one.short for one in options if one.is_required)]
    if any(not one.is_required for one in options):
        usage.append("[OPTIONS]")
    lines = [f"### `{command.name}`", "", "```text", " ".join(usage), "```", ""]
    for paragraph in _paragraphs(command.call):
        lines += [paragraph, ""]
    for kind, rows in (("argument", arguments), ("option", options)):
        if rows:
            lines += [f"| {kind} | default | meaning |", "|---|---|---|"]
            lines += [f"| {_cell(one.shown)} | {one.default} | {one.help} |" for one in rows]
            lines.append("")
    return "\n".join(lines)


def _paragraphs(call: Callable[..., object]) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in (inspect.getdoc(call) or "").split("\n\n")]


def _parameters(call: Callable[..., object]) -> Iterator[Parameter]:
    """The arguments and options of a command, as its signature declares them."""
    hints = get_type_hints(call, include_extras=True)
    for name, parameter in inspect.signature(call).parameters.items():
        annotation, info = get_args(hints[name])
        default = parameter.default
        is_required = default is inspect.Parameter.empty
        if isinstance(info, ArgumentInfo):
            short = name.strip("_").upper() + ("..." if _is_list(annotation) else "")
            shown = short
            short = short if is_required else f"[{short}]"
        elif isinstance(info, OptionInfo):
            short, shown = _option(name, annotation, info)
        else:
            continue
        is_asked_for = isinstance(info, OptionInfo) and bool(info.prompt)
        yield Parameter(
            short,
            shown,
            isinstance(info, OptionInfo),
            is_required and not is_asked_for,
            _default(default, is_required=is_required, is_asked_for=is_asked_for, names=shown),
            (info.help or "") + _limits(info),
        )


def _option(name: str, annotation: object, info: OptionInfo) -> tuple[str, str]:
    """An option as it stands in a usage line and with all its names: ("-o PATH", "-o, --output PATH")."""
    kind = _value_type(annotation)
    # In Annotated[…, typer.Option("-i", "--index")] the first name stands where a default once stood.
    first = [info.default] if isinstance(info.default, str) else []
    declared = [*first, *(info.param_decls or ())]
    if not declared:
        flag = "--" + name.strip("_").replace("_", "-")
        declared = [f"{flag}/--no-{flag[2:]}" if kind is bool else flag]
    metavar = "" if kind is bool else f" {info.metavar or _metavar(kind)}"
    return declared[0] + metavar, ", ".join(declared) + metavar


def _metavar(kind: object) -> str:
    return "|".join(get_args(kind)) if get_origin(kind) is Literal else METAVARS[kind]


def _value_type(annotation: object) -> Any:
    """The type of one value: Path of `list[Path] | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    return get_args(annotation)[0] if get_origin(annotation) is list else annotation


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is list or any(get_origin(one) is list for one in get_args(annotation))


def _default(value: object, *, is_required: bool, is_asked_for: bool, names: str) -> str:
    if is_required:
        return "asked for" if is_asked_for else "required"
    if isinstance(value, bool):
        positive, _, negative = names.partition("/")
        return f"`{positive if value else negative}`" if negative else ""
    return "" if value in (None, "") else f"`{value}`"


def _limits(info: ArgumentInfo | OptionInfo) -> str:
    if info.max is not None:
        return f" From {info.min} to {info.max}."
    return "" if info.min is None else f" At least {info.min}."


def _cell(code: str) -> str:
    """Code in a cell of a table, where a bar would end the cell."""
    return f"`{code}`".replace("|", "\\|")
