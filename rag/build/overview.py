"""What is indexed, by which models, and what it takes on the disk, for `rag list` and `rag status`; loads nothing."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rag import fixes
from rag.build.parts import query_model
from rag.config import Settings
from rag.errors import IndexMismatchError, ModelError
from rag.index.calibration import uncalibrated_lines
from rag.index.folder import current_generation
from rag.index.known import KnownIndex
from rag.index.read import rows_of_documents
from rag.models.promoted import what_serves
from rag.models.resolve import rag_home, stand_in_of

CACHES = {
    "models": "models",
    "compiled graphs": "compiled",
    "indexes": "indexes",
    "conversations": "conversations",
}
"""What is kept below RAG_HOME, by its folder there."""


@dataclass(frozen=True, slots=True)
class IndexOverview:
    """An index at a glance; `fault` says what is wrong where it cannot be read, and then the rest is not known.

    `kinds` counts documents by their format. `corpus` is the corpus file, "" for documents. `made` is the day on which
    it was last made or added to, `disk` its bytes.
    """

    folder: Path
    made: str
    disk: int
    fault: str = ""
    corpus: str = ""
    n_documents: int = 0
    n_passages: int = 0
    encoder: str = ""
    language: str = ""
    kinds: dict[str, int] = field(default_factory=dict)


def overview_of(known: KnownIndex) -> IndexOverview:
    """What an index holds."""
    made = time.strftime("%Y-%m-%d", time.localtime(known.made)) if known.made else ""
    disk = bytes_below(known.folder)
    try:
        generation, manifest = current_generation(known.folder)
        rows = [] if manifest.corpus_path else rows_of_documents(generation)
    except IndexMismatchError as error:
        return IndexOverview(known.folder, made, disk, fault=str(error))
    return IndexOverview(
        known.folder,
        made,
        disk,
        corpus=manifest.corpus_path,
        n_documents=len(rows),
        n_passages=manifest.n_passages,
        encoder=manifest.encoder_model,
        language=manifest.language,
        kinds=dict(Counter(row["kind"] for row in rows).most_common()),
    )


def models_of(settings: Settings) -> dict[str, str]:
    """Role -> the model that serves in it by these settings, or what is wrong with it."""
    named = {"retriever": settings.encoder.model}
    if settings.reranker.enabled:
        named["reranker"] = settings.reranker.model
    if settings.reader.enabled:
        named["reader"] = settings.reader.model
    if settings.generator.kind != "server":
        named["generator"] = settings.generator.model
    found = {}
    for role, name in named.items():
        try:
            served = what_serves(name)
        except ModelError as error:
            found[role] = str(error)
            continue
        found[role] = name if served == name else f"{served} (promoted in the place of {name})"
        if role == "generator" and (stand_in := stand_in_of(served, source=settings.models.source)):
            serves = what_serves(stand_in)
            tuned = "" if serves == stand_in else f", promoted in the place of {stand_in}"
            found[role] = f"{serves} ({name} cannot be reached{tuned})"
    with contextlib.suppress(ModelError):  # of the retriever it is said
        if (query := query_model(settings)) is not None:
            found["questions"] = f"{query}, beside the retriever"
    if settings.generator.kind == "server":
        found["generator"] = f"{settings.generator.model} at {settings.generator.server_url}"
    return found


def disk_used() -> dict[str, int]:
    """What lies below RAG_HOME, by what it is, in bytes; without what is not there."""
    sizes = {what: bytes_below(rag_home() / name) for what, name in CACHES.items()}
    return {what: size for what, size in sizes.items() if size}


def next_steps(folder: Path | None, fault: str = "") -> list[str]:
    """What to do next, a sentence with its command each."""
    if folder is None:
        add = fixes.ingest("my.index", ["FOLDER"])
        return [f"add documents: {add}", "or try the sample: rag ask 'What is a tuple?'"]
    if fault:
        return [fault]
    return [f"ask it: {fixes.ask(folder)}", *uncalibrated_lines(folder)]


def bytes_below(folder: Path) -> int:
    """The bytes of all files below a folder; of a file that has two names once; links are not followed."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if path.is_file() and not path.is_symlink():
                seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())
