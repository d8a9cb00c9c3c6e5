"""Hashes of weights, remembered: hashing a gigabyte takes longer than opening a model that is compiled already."""

from __future__ import annotations

import time
from pathlib import Path

from filelock import FileLock, Timeout

from rag.files import json_if_sound, weights_sha256, write_json

FILE = "hashes.json"
# A file that changed this recently may change again without another size or time (as git's "racy" files).
SETTLED_SECONDS = 3.0


def remembered_weights_sha256(folder: Path, cache_root: Path) -> str:
    """`weights_sha256` of a folder, from `cache_root` where it was hashed before and no weight file has changed since.

    Changed means another name, size, inode or time of change. Raises ModelError where the folder holds no weights.
    """
    place, state = str(folder.resolve()), _state(folder)
    known = (json_if_sound(cache_root / FILE) or {}).get(place)
    if isinstance(known, dict) and known.get("files") == state and isinstance(known.get("sha256"), str):
        return known["sha256"]
    sha256 = weights_sha256(folder)
    newest = max(row[3] for row in state) / 1e9
    if _state(folder) == state and time.time() - newest > SETTLED_SECONDS:
        _remember(cache_root, place, {"files": state, "sha256": sha256})
    return sha256


def _state(folder: Path) -> list[list]:
    """[name, bytes, inode, nanoseconds of the last change] of every weight file, by name."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin") and p.is_file())
    stats = [(str(path.relative_to(folder)), path.stat()) for path in files]
    return [[name, stat.st_size, stat.st_ino, max(stat.st_mtime_ns, stat.st_ctime_ns)] for name, stat in stats]


def _remember(cache_root: Path, place: str, entry: dict) -> None:
    """Add an entry; not worth waiting for, nor failing for: a folder that cannot be written is hashed again."""
    try:
        cache_root.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_root / f"{FILE}.lock", timeout=1):
            known = json_if_sound(cache_root / FILE) or {}
            write_json(cache_root / FILE, {**known, place: entry})
    except (OSError, Timeout):
        return
