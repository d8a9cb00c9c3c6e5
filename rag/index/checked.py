"""Hashes of files that were taken before, so that a large index opens without being read from end to end.

A generation keeps in `checked.json` the hash of each file, with the size, time of change and inode that it had. As long
as it has these, its hash is not taken again; `rag doctor` takes every hash anew. `checked.json` only saves time: where
it is missing, damaged or not writable, everything is hashed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from rag.files import file_sha256, is_unbroken, json_if_sound, sealed, write_json

CHECKED = "checked.json"
SETTLED_NANOSECONDS = 2_000_000_000
"""A file that changed later than this before it was hashed could change once more at what its clock calls that time."""


def sha256_checked(generation: Path, path: Path, sha256_of: Callable[[Path], str] = file_sha256) -> str:
    """The SHA-256 of a file; from what `generation` keeps where the file has not changed since it was hashed.

    Raises OSError where it cannot be read.
    """
    name, stamp = str(path.relative_to(generation) if path.is_relative_to(generation) else path), _stamp(path)
    known = _known(generation).get(name)
    if isinstance(known, list) and len(known) == 2 and known[0] == stamp and isinstance(known[1], str):
        return known[1]
    started = time.time_ns()
    sha256 = sha256_of(path)
    if stamp == _stamp(path) and stamp[1] < started - SETTLED_NANOSECONDS:
        note_checked(generation, {name: [stamp, sha256]})
    return sha256


def note_checked(generation: Path, found: Mapping[str, list]) -> None:
    """Keep the stamp and hash of files, by name, beside those that are known. Where nothing can be written, nothing is.

    Two processes may do so at once: what one of them notes may be lost, and is hashed again.
    """
    with contextlib.suppress(OSError):
        write_json(generation / CHECKED, sealed({**_known(generation), **found}))


def hand_on(generation: Path, following: Path, names: Collection[str]) -> None:
    """Keep with the generation that follows what is known of the files of these names, and of files elsewhere."""
    known = _known(generation)
    note_checked(following, {name: known[name] for name in known if name in names or Path(name).is_absolute()})


def forget(generation: Path) -> None:
    """Let every file be hashed again, as something was read that is not as it was written."""
    with contextlib.suppress(OSError):
        (generation / CHECKED).unlink(missing_ok=True)


def _known(generation: Path) -> dict:
    """What is kept, by name: [stamp, hash]."""
    path = generation / CHECKED
    try:
        return _read(path, tuple(_stamp(path)))
    except OSError:
        return {}


@functools.lru_cache(maxsize=16)
def _read(path: Path, stamp: tuple[int, ...]) -> dict:
    """What a file in this state keeps: it is asked for with every part of an index."""
    stored = json_if_sound(path)
    if stored is None or not _is_sealed(stored):
        return {}
    return {name: value for name, value in stored.items() if isinstance(value, list)}


def _is_sealed(stored: Mapping) -> bool:
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        return "sha256" in stored and is_unbroken(stored)
    return False


def _stamp(path: Path) -> list[int]:
    """What changes with every ordinary change of a file: size in bytes, time of change, inode."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ino]
