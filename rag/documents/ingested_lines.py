"""What an ingest did, line by line."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag.documents.collection import Ingested

MAX_PAIRS_LISTED = 10
MAX_SUFFIXES_LISTED = 6


def ingested_lines(result: Ingested, folder: Path) -> list[str]:
    """The summary of an ingest for a person: what the index holds, what changed, and what was left out and why."""
    kinds = Counter(document.kind for document in result.documents)
    shown = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
    lines = [
        f"{folder}: {_count(len(result.documents), 'document')} ({shown}), {_count(result.n_passages, 'passage')}",
        f"{result.added:,} added, {result.kept:,} kept, {result.removed:,} removed",
    ]
    copies = sum(len(document.paths) > 1 for document in result.documents)
    if copies:
        lines.append(f"stored once though found under several paths: {_count(copies, 'document')}")
    names = {document.sha256: document.paths[0]["path"] or document.title for document in result.documents}
    lines += _near_duplicates(result, names)
    for document in result.documents:
        lines += [f"{names[document.sha256]}: {note}" for note in document.notes]
    if result.other_kinds:
        total = sum(result.other_kinds.values())
        most = Counter(result.other_kinds).most_common(MAX_SUFFIXES_LISTED)
        suffixes = ", ".join(f"{n:,} {suffix or 'without suffix'}" for suffix, n in most)
        lines.append(f"{total:,} files of kinds that are not read ({suffixes})")
    lines += [f"left out: {path}: {reason}" for path, reason in sorted(result.left_out.items())]
    own = shlex.quote(str(folder))
    return [*lines, f"ask it: rag ask 'your question' -i {own}, or rag chat -i {own}"]


def _near_duplicates(result: Ingested, names: dict[str, str]) -> list[str]:
    lines = [
        f"nearly the same ({similarity:.2f}): {names[first]} and {names[second]}"
        for first, second, similarity in result.near_duplicates[:MAX_PAIRS_LISTED]
    ]
    n_more = len(result.near_duplicates) - MAX_PAIRS_LISTED
    if n_more > 0:
        lines.append(f"… and {n_more:,} more pairs that are nearly the same")
    return lines


def _count(n: int, noun: str) -> str:
    """`1 passage`, `2 passages`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
