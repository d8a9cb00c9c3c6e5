"""What an ingest did, line by line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag.documents.collection import Ingested


MAX_LISTED = 10


def _some(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + "s" * (n != 1)


def ingested_lines(result: Ingested, folder: Path) -> list[str]:
    kinds = Counter(document.kind for document in result.documents)
    shown = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
    lines = [
        f"{folder}: {_some(len(result.documents), 'document')} ({shown}), {_some(result.n_passages, 'passage')}",
        f"{result.added:,} added, {result.kept:,} kept, {result.removed:,} removed",
    ]
    copies = sum(len(document.paths) > 1 for document in result.documents)
    if copies:
        lines.append(f"stored once though found under several paths: {_some(copies, 'document')}")
    names = {document.sha256: document.paths[0]["path"] or document.title for document in result.documents}
    for first, second, similarity in result.near_duplicates[:MAX_LISTED]:
        lines.append(f"nearly the same ({similarity:.2f}): {names[first]} and {names[second]}")
    if len(result.near_duplicates) > MAX_LISTED:
        lines.append(f"… and {len(result.near_duplicates) - MAX_LISTED:,} more pairs that are nearly the same")
    for document in result.documents:
        lines += [f"{names[document.sha256]}: {note}" for note in document.notes]
    if result.other_kinds:
        total = sum(result.other_kinds.values())
        kinds_of = ", ".join(
            f"{n:,} {suffix or 'without suffix'}" for suffix, n in Counter(result.other_kinds).most_common(6)
        )
        lines.append(f"{total:,} files of kinds that are not read ({kinds_of})")
    lines += [f"left out: {path}: {reason}" for path, reason in sorted(result.left_out.items())]
    return [*lines, f"ask it: rag ask 'your question' -i {folder}, or rag chat -i {folder}"]
