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
    """A file to ingest: the folder or file that was named, the path below it ("" for a named file), and its hash."""

    root: str
    path: str
    sha256: str
    size: int  # bytes
    modified: float  # seconds since 1970

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

    Hidden files and folders are skipped, and so are folders that are an index. A link is followed to a file inside the
    same folder only. A file of another kind (a picture, say) is counted; one that was named itself is tried whatever
    its kind. Raises DataError for a root that does not exist.
    """
    result = Scan()
    for root in (Path(root).resolve() for root in roots):
        if root.is_file():
            _add(result, root, root, "", max_bytes)
        elif root.is_dir():
            _walk(result, root, max_bytes, is_index)
        else:
            raise DataError(f"{root} does not exist; name files or folders to ingest")
    return result


def _walk(result: Scan, root: Path, max_bytes: int, is_index: Callable[[Path], bool]) -> None:
    for folder, folders, names in os.walk(root, onerror=lambda error: _unlisted(result, error)):
        # os.walk goes on with what is left in `folders`, in that order.
        folders[:] = [name for name in sorted(folders) if _is_followed(result, Path(folder) / name, is_index)]
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(folder) / name
                _add(result, root, path, path.relative_to(root).as_posix(), max_bytes)


def _is_followed(result: Scan, folder: Path, is_index: Callable[[Path], bool]) -> bool:
    if folder.name.startswith(".") or is_index(folder):
        return False
    if folder.is_symlink():
        result.left_out[str(folder)] = "a link to a folder"
        return False
    return True


def _unlisted(result: Scan, error: OSError) -> None:
    result.left_out[str(error.filename)] = f"cannot be listed: {error.strerror}"


def _add(result: Scan, root: Path, path: Path, relative: str, max_bytes: int) -> None:
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
    """A path as text that can be encoded: names of files may hold bytes that are no text."""
    return path.encode("utf-8", "replace").decode("utf-8")
