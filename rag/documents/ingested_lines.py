"""What an ingest did, line by line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rag import fixes
from rag.documents.scan import readable
from rag.terminal import shell_word

if TYPE_CHECKING:
    from rag.documents.collection import Ingested
    from rag.documents.records import DocumentRecord

MAX_PAIRS_LISTED = 10
MAX_SUFFIXES_LISTED = 6


def ingested_lines(result: Ingested, folder: Path) -> list[str]:
    """The summary of an ingest for a person: what the index holds, what changed, and what was left out and why."""
    kinds = Counter(document.kind for document in result.documents)
    shown = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common()) or "none is left"
    lines = [
        f"{folder}: {_count(len(result.documents), 'document')} ({shown}), {_count(result.n_passages, 'passage')}",
        f"{result.added:,} added, {result.kept:,} kept, {result.removed:,} removed",
    ]
    copies = sum(len(document.paths) > 1 for document in result.documents)
    if copies:
        lines.append(f"stored once though found under several paths: {_count(copies, 'document')}")
    names = {document.sha256: _name(document) for document in result.documents}
    lines += _near_duplicates(result, names)
    for document in result.documents:
        lines += [f"{names[document.sha256]}: {note}" for note in document.notes]
    if result.other_kinds:
        total = sum(result.other_kinds.values())
        most = Counter(result.other_kinds).most_common(MAX_SUFFIXES_LISTED)
        suffixes = ", ".join(f"{n:,} {suffix or 'without suffix'}" for suffix, n in most)
        lines.append(f"{total:,} files of kinds that are not read ({suffixes})")
    if result.passed_over:
        total = sum(result.passed_over.values())
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in Counter(result.passed_over).most_common())
        lines.append(f"{_count(total, 'link')} not followed ({reasons})")
    lines += [f"left out: {path}: {reason}" for path, reason in sorted(result.left_out.items())]
    lines += [f"not updated: {address}: {reason}" for address, reason in sorted(result.not_updated.items())]
    own = shell_word(str(folder))
    if not result.documents:
        return [*lines, f"the index holds no documents; add some: {fixes.ingest(folder, ['PATH'])}"]
    return [*lines, f"ask it: rag ask 'your question' -i {own}, or rag chat -i {own}"]


def update_line(result: Ingested, folder: Path, clock: str) -> str:
    """What one update of a watched index did, in one line that begins with the time of day."""
    parts = [
        f"{clock} {folder}: {result.added:,} added, {result.removed:,} removed, {result.kept:,} kept; "
        f"{_count(len(result.documents), 'document')}, {_count(result.n_passages, 'passage')}"
    ]
    for what, reasons in (("left out", result.left_out), ("not updated", result.not_updated)):
        if reasons:
            name, reason = min(reasons.items())
            more = f" and {len(reasons) - 1:,} more" if len(reasons) > 1 else ""
            parts.append(f"{what}: {name} ({reason}){more}")
    return "; ".join(parts)


def _name(document: DocumentRecord) -> str:
    """What the summary calls a document: its address, or its path below the folder that was named."""
    place = document.paths[0]
    return place.get("address") or readable(place["path"]) or document.title


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
