"""The files below the paths that a person names."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag.documents.sniff import SUFFIXES
from rag.errors import DataError
from rag.files import file_sha256


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to take in: the folder or file that was named, the path below it, and what it holds."""

    root: str
    path: str
    sha256: str
    size: int
    modified: float

    @property
    def full_path(self) -> Path:
        return Path(self.root) / self.path if self.path else Path(self.root)

    @property
    def shown_path(self) -> str:
        """The path as people know it: with the last part of the folder that was named."""
        return readable((Path(self.root).name / Path(self.path)).as_posix())


@dataclass(slots=True)
class Scan:
    """What a walk over files and folders found, and what it left out: path -> reason."""

    files: list[FoundFile] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    other_kinds: Counter = field(default_factory=Counter)


def scan(
    roots: Sequence[str | Path], *, max_bytes: int, is_index: Callable[[Path], bool] = lambda folder: False
) -> Scan:
    """Every readable file below the roots, in order of their names.

    Hidden files and folders are passed over, and folders that are an index; a link is followed to a file inside the
    same folder only. A file of a kind that is not read (a picture, say) is counted, and listed only where it was named
    itself. Raises DataError for a root that does not exist.
    """
    result = Scan()
    for root in roots:
        root = Path(root).resolve()
        if root.is_file():
            _take(result, root, root, "", max_bytes)
        elif root.is_dir():
            for folder, folders, names in os.walk(root, onerror=lambda e: _unlisted(result, e)):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in list(folders):
                    if is_index(Path(folder) / name):
                        folders.remove(name)
                    elif (link := Path(folder) / name).is_symlink():
                        folders.remove(name)
                        result.left_out[str(link)] = "a link to a folder"
                for name in sorted(names):
                    if not name.startswith("."):
                        path = Path(folder) / name
                        _take(result, root, path, path.relative_to(root).as_posix(), max_bytes)
        else:
            raise DataError(f"{root} does not exist; name files or folders to take in")
    return result


def _unlisted(result: Scan, error: OSError) -> None:
    result.left_out[str(error.filename)] = f"cannot be listed: {error.strerror}"


def _take(result: Scan, root: Path, path: Path, relative: str, max_bytes: int) -> None:
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            result.left_out[str(path)] = "a link out of the folder"
            return
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            result.left_out[str(path)] = "not a regular file"
        elif relative and path.suffix.lower() not in SUFFIXES:
            result.other_kinds[path.suffix.lower()] += 1
        elif status.st_size > max_bytes:
            size = f"{status.st_size / 2**20:,.0f} MiB"
            result.left_out[str(path)] = f"{size}, larger than the limit of {max_bytes / 2**20:,.0f} MiB"
        else:
            result.files.append(FoundFile(str(root), relative, file_sha256(path), status.st_size, status.st_mtime))
    except OSError as error:
        result.left_out[str(path)] = f"cannot be read: {error.strerror or error}"


def readable(path: str) -> str:
    """A path as text: its name may hold bytes that are none."""
    return path.encode("utf-8", "replace").decode("utf-8")
