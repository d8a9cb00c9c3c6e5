"""The files below the paths that a person names."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag.documents.sniff import SUFFIXES, suffix_of
from rag.errors import DataError
from rag.files import file_sha256

IN_A_CIRCLE = "a link in a circle"
_LOCK_FILES = re.compile(
    # What Office, LibreOffice, Windows, macOS and editors leave beside documents; names that begin with a dot are
    # hidden anyway.
    r"~\$.*|~wrl\d+\.tmp|thumbs\.db|ehthumbs(_vista)?\.db|desktop\.ini|icon\r|.*~|#.*#|.*\.(crdownload|part|partial)",
    re.I | re.S,
)
_SYSTEM_FOLDERS = {"__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle"}


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to ingest: the folder or file that was named, the path below it ("" for a named file), and its hash.

    `address` is that of a web page, whose kept body the file is; "" for a file of a person's own. `collection` is the
    name that was given to where it was found; "" for none.
    """

    root: str
    path: str
    sha256: str
    size: int  # bytes
    modified: float  # seconds since 1970
    address: str = ""
    collection: str = ""

    @property
    def full_path(self) -> Path:
        return Path(self.root) / self.path if self.path else Path(self.root)

    @property
    def name(self) -> str:
        """What messages call the file: its whole path, or the address of a web page."""
        return self.address or readable(str(self.full_path))

    @property
    def shown_path(self) -> str:
        """The path as people know it: with the last part of the folder that was named; the address of a web page."""
        return self.address or readable(shown_path(self.root, self.path, self.collection))


def shown_path(root: str, path: str, collection: str = "") -> str:
    """A path below a root with the collection's name before it, or else the last part of the root."""
    return (Path(collection if collection and path else Path(root).name) / path).as_posix()


Look = Callable[[Path, os.stat_result], tuple[str, int, float] | None]
"""(hash, size in bytes, seconds since 1970) of a file to take; None where it is not to be taken yet."""


@dataclass(slots=True)
class Scan:
    """What a walk over files and folders found, and what it left out: readable path -> reason."""

    files: list[FoundFile] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    other_kinds: Counter = field(default_factory=Counter)


def look_now(path: Path, status: os.stat_result) -> tuple[str, int, float]:
    """A file as it stands now."""
    return file_sha256(path), status.st_size, status.st_mtime


def scan(
    roots: Sequence[str | Path],
    *,
    max_bytes: int,
    is_index: Callable[[Path], bool] = lambda folder: False,
    look: Look = look_now,
) -> Scan:
    """Every readable file below the roots, in order of their names.

    Hidden files and folders are skipped, those of the system, lock files, and folders that are an index. A link is
    followed to a file inside the same folder only. A file of another kind (a picture, say) is counted; one that was
    named itself is tried whatever its kind. Raises DataError for a root that does not exist.
    """
    result = Scan()
    for root in map(resolved, roots):
        fault = fault_of(root)
        if fault == "does not exist":
            raise DataError(f"{root} does not exist; name files or folders to ingest")
        if fault:
            result.left_out[readable(str(root))] = fault
        elif root.is_dir():
            _Walk(result, root, max_bytes, is_index, look).run()
        else:
            _Walk(result, root, max_bytes, is_index, look).add(root, "")
    return result


def resolved(path: str | Path) -> Path:
    """The path without links; one in a circle stays as it is (`Path.resolve` raises there before Python 3.13)."""
    return Path(os.path.realpath(path))


def fault_of(path: Path) -> str:
    """Why nothing can be read at a path: "" for a file or folder, else the reason."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return "does not exist"
        return _reason(error)
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "not a regular file"


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk below one root, into a result."""

    result: Scan
    root: Path
    max_bytes: int
    is_index: Callable[[Path], bool]
    look: Look

    def run(self) -> None:
        for folder, folders, names in os.walk(self.root, onerror=self._unlisted):
            # os.walk goes on with what is left in `folders`, in that order.
            folders[:] = [name for name in sorted(folders) if self._is_followed(Path(folder) / name)]
            here = Path(folder)
            below = "" if here == self.root else here.relative_to(self.root).as_posix() + "/"
            for name in sorted(names):
                if not name.startswith(".") and not _LOCK_FILES.fullmatch(name):
                    self.add(here / name, below + name)

    def add(self, path: Path, relative: str) -> None:
        """Take a file, or say why not. `relative` is its path below the root, "" for the root itself."""
        try:
            status = path.lstat()
            reason: str | None = ""
            if stat.S_ISLNK(status.st_mode) and not (reason := self._reason_against_link(path)):
                status = path.stat()
            reason = reason or self._reason_against(path, relative, status)
            if reason == "":
                if (seen := self.look(path, status)) is not None:
                    self.result.files.append(FoundFile(str(self.root), relative, *seen))
                return
        except OSError as error:
            reason = _reason(error)
        if reason is not None:
            self.result.left_out[readable(str(path))] = reason

    def _reason_against_link(self, path: Path) -> str:
        """Why a link is left out; "" where it is followed."""
        target = os.path.realpath(path)
        if os.path.islink(target):  # a link that leads nowhere else than to a link
            return IN_A_CIRCLE
        return "" if Path(target).is_relative_to(self.root) else "a link out of the folder"

    def _reason_against(self, path: Path, relative: str, status: os.stat_result) -> str | None:
        """Why a file is left out; "" where it is taken, None where it is counted as of another kind."""
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if relative and suffix_of(path.name) not in SUFFIXES:
            self.result.other_kinds[readable(path.suffix.lower())] += 1
            return None
        if status.st_size > self.max_bytes:
            size = f"{status.st_size / 2**20:,.0f} MiB"
            return f"{size}, larger than the limit of {self.max_bytes / 2**20:,.0f} MiB"
        return ""

    def _is_followed(self, folder: Path) -> bool:
        try:
            if folder.name.startswith(".") or folder.name.lower() in _SYSTEM_FOLDERS or self.is_index(folder):
                return False
            if not folder.is_symlink():
                return True
            reason = "a link to a folder"
        except OSError as error:
            reason = f"cannot be listed: {_words(error)}"
        self.result.left_out[readable(str(folder))] = reason
        return False

    def _unlisted(self, error: OSError) -> None:
        self.result.left_out[readable(str(error.filename))] = f"cannot be listed: {_words(error)}"


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return IN_A_CIRCLE
    if error.errno in (errno.ENOENT, errno.ESTALE):
        return "gone, or a link to nothing"
    return f"cannot be read: {_words(error)}"


def _words(error: OSError) -> str:
    return error.strerror or str(error)


def readable(path: str) -> str:
    """A path as text that can be encoded and shown: names of files may hold bytes that are no text, and line ends."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", path.encode("utf-8", "replace").decode("utf-8"))
