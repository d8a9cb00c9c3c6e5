"""What `rag list` and `rag status` show, as lines for a terminal and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rag import fixes
from rag.build.overview import IndexOverview
from rag.index.known import Chosen
from rag.index.language import language_name
from rag.languages import ENGLISH
from rag.terminal import Styled, one_line, styled


def size(n_bytes: int) -> str:
    """A size that people read, in the units of 1024."""
    for unit, of in (("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= of:
            return f"{n_bytes / of:.1f} {unit}"
    return f"{n_bytes / 2**10:.0f} KiB"


def index_json(overview: IndexOverview, *, is_meant: bool) -> dict[str, Any]:
    """An index as JSON."""
    return {**dataclasses.asdict(overview), "folder": str(overview.folder), "default": is_meant}


def list_lines(overviews: Sequence[IndexOverview], meant: Path | None) -> list[str | Styled]:
    """A line for each index; * marks the one that is meant where none is named."""
    if not overviews:
        return [f"no index is known yet; make one: {fixes.ingest('my.index', ['FOLDER'])}"]
    rows = [("", "index", "documents", "passages", "made", "size", "encoder")]
    for one in overviews:
        documents = "corpus" if one.corpus else f"{one.n_documents:,}"
        counts = ("?", "?") if one.fault else (documents, f"{one.n_passages:,}")
        mark = "*" if one.folder == meant else ""
        state = "damaged: rag status INDEX" if one.fault else one.encoder
        rows.append((mark, one_line(str(one.folder)), *counts, one.made, size(one.disk), state))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines: list[str | Styled] = []
    for n, row in enumerate(rows):
        mark, name, *others, last = row
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[2:-1], strict=True)]
        line = "  ".join([f"{mark:{widths[0]}}{' ' if widths[0] else ''}{name:{widths[1]}}", *cells, last])
        lines.append(styled(line, "faint") if n == 0 else styled(line, "strong") if mark else line)
    return lines


def status_json(chosen: Chosen | None, overview: IndexOverview | None, found: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON, without the secrets of chats."""
    chats = [{"index": note.index, "address": note.address, "process": note.process} for note in found["chats"]]
    index = None if overview is None else index_json(overview, is_meant=True)
    return {**found, "index": index, "why": chosen.why if chosen else "", "chats": chats}


def status_lines(chosen: Chosen | None, overview: IndexOverview | None, found: Mapping[str, Any]) -> list[str | Styled]:
    """What is indexed, which models serve, whether a chat runs, the disk used, and what to do next."""
    lines: list[str | Styled] = []
    if chosen is None or overview is None:
        lines.append(_named("index", "none yet", "warning"))
    else:
        lines.append(_named("index", f"{chosen.folder} ({chosen.why})", "strong"))
        lines += [_named("", line) for line in _holds(overview)]
    for n, (role, model) in enumerate(found["models"].items()):
        lines.append(_named("" if n else "models", f"{role}: {model}"))
    chats = [f"{note.address} over {note.index}" for note in found["chats"]]
    lines += [_named("" if n else "chat", line, "good") for n, line in enumerate(chats)]
    if not chats:
        lines.append(_named("chat", "none runs; open one: rag chat"))
    used = ", ".join(f"{what} {size(n_bytes)}" for what, n_bytes in found["disk"].items())
    lines.append(_named("disk", used or "nothing yet"))
    lines += [_named("" if n else "next", line) for n, line in enumerate(found["next"])]
    return lines


def _named(name: str, text: str, style: str = "") -> Styled:
    return Styled(((f"{name:8}", "faint"), (text, style)))


def _holds(overview: IndexOverview) -> list[str]:
    """What an index holds, in words."""
    if overview.fault:
        return ["cannot be read"]
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in overview.kinds.items())
    documents = f"{_count(overview.n_documents, 'document')}{f' ({kinds})' if kinds else ''}"
    what = f"of {overview.corpus or documents}"
    language = "" if overview.language == ENGLISH else f" in {language_name(overview.language)}"
    made = f", made {overview.made}" if overview.made else ""
    return [f"{_count(overview.n_passages, 'passage')}{language} {what}{made}, {size(overview.disk)}"]


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
