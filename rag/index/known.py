"""The indexes that are known on this machine, and the one that is meant where none is named.

An index is known once `rag ingest` or `rag index` has made it or added to it, or a chat has served it. Those are noted
in RAG_HOME/known/indexes.json, for their owner alone. Those below RAG_HOME/indexes need no note.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from rag.data.corpus import EMBEDDED
from rag.errors import DataError
from rag.files import LOCK, json_if_sound
from rag.index.folder import CURRENT, is_index, serves
from rag.models.resolve import rag_home
from rag.private import private_folder, write_private
from rag.store.note import NOTE, has_note
from rag.terminal import json_text

VARIABLE = "RAG_INDEX"
NOTES = "indexes.json"
LOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class KnownIndex:
    """An index folder, and when it was last made or added to by a command (seconds since 1970)."""

    folder: Path
    made: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """The index that is meant where none is named, and why; `others` is how many more could have been."""

    folder: Path
    why: str
    others: int = 0


def known_folder() -> Path:
    """Where it is noted which indexes there are, and which chats serve them; the owner alone may look."""
    return rag_home() / "known"


def note_index(folder: str | Path, *, made: bool) -> None:
    """Remember an index; `made` says that it was made or added to now. Where nothing can be written, it is not."""
    place = _noted_as(folder)
    before = _notes()
    if place in before and not made:
        return
    with contextlib.suppress(OSError, Timeout, DataError):  # it can still be named
        private_folder(known_folder())
        with FileLock(known_folder() / LOCK, timeout=LOCK_SECONDS):
            notes = {**_notes(), place: time.time() if made else _changed(Path(place))}
            _write({path: at for path, at in notes.items() if path == place or is_index(Path(path))})


def forget_index(folder: str | Path) -> None:
    """Take an index out of the notes; raises OSError where they cannot be written."""
    if _noted_as(folder) in _notes():
        with FileLock(known_folder() / LOCK, timeout=LOCK_SECONDS):
            _write({path: at for path, at in _notes().items() if path != _noted_as(folder)})


def known_indexes() -> list[KnownIndex]:
    """Every index that is known and still there, the one that was made last first."""
    made = {Path(path): at for path, at in _notes().items()}
    below = rag_home() / "indexes"
    for folder in below.iterdir() if below.is_dir() else ():
        made.setdefault(folder.resolve(), _changed(folder))
    found = [KnownIndex(folder, at) for folder, at in made.items() if is_index(folder)]
    return sorted(found, key=lambda known: (-known.made, str(known.folder)))


def known_index(folder: Path) -> KnownIndex:
    """An index as it is noted; as it stands on the disk where it is not."""
    return KnownIndex(folder, _notes().get(_noted_as(folder)) or _changed(folder))


def chosen_index() -> Chosen | None:
    """The index that is meant where none is named; None where there is none but the sample.

    It is the one that RAG_INDEX names; else, of those that are known, the one that a command made or added to last. The
    sample is never among these. Nothing is checked of an index that RAG_INDEX names.
    """
    if named := os.environ.get(VARIABLE):
        return Chosen(Path(named), f"by {VARIABLE}")
    own = [known for known in known_indexes() if not is_sample(known.folder) and serves(known.folder)]
    if not own:
        return None
    why = "the only index here" if len(own) == 1 else f"the index made last of {len(own):,}"
    return Chosen(_as_typed(own[0].folder), why, len(own) - 1)


def sample_folder() -> Path:
    """Where the index of the sample corpus stands, once it is built."""
    return rag_home() / "indexes" / EMBEDDED


def is_sample(folder: Path) -> bool:
    """Whether a folder is where the sample's index stands."""
    return folder.resolve() == sample_folder().resolve()


def _as_typed(folder: Path) -> Path:
    """The folder relative to where we are, where it lies below."""
    here = Path.cwd()
    return folder.relative_to(here) if folder != here and folder.is_relative_to(here) else folder


def _noted_as(folder: str | Path) -> str:
    return str(Path(folder).resolve())


def _notes() -> dict[str, float]:
    """The notes, by whole path; {} where there are none, or they are damaged."""
    stored = (json_if_sound(known_folder() / NOTES) or {}).get("indexes")
    if not isinstance(stored, Mapping):
        return {}
    return {str(path): float(at) for path, at in stored.items() if isinstance(at, int | float)}


def _changed(folder: Path) -> float:
    """When a generation of the index last began to serve; 0 where none does."""
    try:
        return (folder / (NOTE if has_note(folder) else CURRENT)).stat().st_mtime
    except OSError:
        return 0.0


def _write(notes: Mapping[str, float]) -> None:
    write_private(known_folder() / NOTES, json_text({"indexes": notes}) + "\n")
