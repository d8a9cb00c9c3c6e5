"""An index is deleted, and nothing else that stands in its folder."""

from __future__ import annotations

import re
from pathlib import Path

from rag.documents.web.store import FOLDER as WEB
from rag.errors import DataError
from rag.files import LOCK, clear
from rag.index.calibration import CALIBRATION_FILE
from rag.index.folder import BUILDING, CURRENT, GENERATION, PREVIOUS, is_index, writer_lock
from rag.store.note import EMBEDDED_FILE, NOTE, has_note, read_note

OWN_NAMES = (CURRENT, PREVIOUS, BUILDING, CALIBRATION_FILE, WEB, NOTE, EMBEDDED_FILE)
_HASHED = re.compile(r"[0-9a-f]{64}\.json(?:\.tmp)?")
PARSED = "documents"
"""The folder of parsed documents (`rag.documents.parsed`); another of this name may be anyone's."""
OWN_BEGINNINGS = (GENERATION, "calibration-run", "calibration-questions")


def check_deletable(folder: str | Path) -> Path:
    """The folder of an index, as it can be deleted. Raises DataError for anything else."""
    folder = Path(folder)
    if folder.is_symlink():
        raise DataError(f"{folder} is a link; name the folder that it leads to: {folder.resolve()}")
    if not folder.exists():
        raise DataError(f"{folder} does not exist; the indexes that are known: rag list")
    if not folder.is_dir() or not is_index(folder):
        raise DataError(f"{folder} is no index, and stays as it is; the indexes that are known: rag list")
    return folder


def delete_index(folder: str | Path) -> list[str]:
    """Delete an index; returns the names of what else stands in its folder, which stays. [] where it is gone.

    Raises DataError as `check_deletable`, IndexBusyError where another process writes the index. A kill leaves a folder
    that can be deleted again.
    """
    folder = check_deletable(folder)
    with writer_lock(folder):
        if has_note(folder) and not read_note(folder).is_missing(folder):
            from rag.index.stored import open_store

            open_store(folder).delete_all()
        own = [path for path in folder.iterdir() if _is_own(path.name)]
        # What makes it an index goes last.
        for path in sorted(own, key=lambda path: path.name.startswith(GENERATION)):
            clear(path)
        _clear_parsed(folder / PARSED)
    (folder / LOCK).unlink(missing_ok=True)
    left = sorted(path.name for path in folder.iterdir())
    if not left:
        folder.rmdir()
    return left


def _is_own(name: str) -> bool:
    return name in OWN_NAMES or name.startswith(OWN_BEGINNINGS)


def _clear_parsed(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if _HASHED.fullmatch(path.name):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
