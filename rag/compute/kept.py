"""Folders that are made once and kept: whether each file is still what was written.

`files.json` holds the size and the SHA-256 of every other file. Gigabytes are hashed once: `checked.json` remembers
what the files looked like then (size, inode, time of change). While they look the same they are taken for the same.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from rag.files import file_sha256, is_unbroken, json_if_sound, sealed, write_json

FILES, CHECKED = "files.json", "checked.json"
# A file that changed this recently may change again without another size or time (as git's "racy" files).
SETTLED_SECONDS = 3.0


def note_files(folder: Path) -> None:
    """Note what every file of a finished folder holds."""
    write_json(folder / FILES, sealed({"files": {name: _now(folder / name) for name in _names(folder)}}))


def is_whole(folder: Path) -> bool:
    """Whether every file is what was noted. So is a folder from before files were noted."""
    if not (folder / FILES).exists():
        return True
    noted = json_if_sound(folder / FILES)
    if noted is None or not is_unbroken(noted) or not isinstance(noted.get("files"), dict):
        return False
    try:
        state = _state(folder, list(noted["files"]))
        if [row[1] for row in state] != [size for size, _ in noted["files"].values()]:
            return False
        if (json_if_sound(folder / CHECKED) or {}).get("state") == state:
            return True
        if any(_now(folder / name) != stored for name, stored in noted["files"].items()):
            return False
    except (OSError, TypeError, ValueError):
        return False
    if time.time() - max((row[3] for row in state), default=0) / 1e9 > SETTLED_SECONDS:
        with contextlib.suppress(OSError):  # what cannot be noted is hashed again
            write_json(folder / CHECKED, {"state": state})
    return True


def _names(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for name in files if name not in (FILES, CHECKED)]


def _now(path: Path) -> list:
    """[bytes, SHA-256] of a file."""
    return [path.stat().st_size, file_sha256(path)]


def _state(folder: Path, names: list[str]) -> list[list]:
    """[name, bytes, inode, nanoseconds of the last change] of each file."""
    stats = [(name, (folder / name).stat()) for name in names]
    return [[name, stat.st_size, stat.st_ino, max(stat.st_mtime_ns, stat.st_ctime_ns)] for name, stat in stats]
