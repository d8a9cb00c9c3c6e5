"""Files that hold what people asked: 0600 in folders of 0700, whatever the umask, and not through foreign links."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from rag.errors import DataError

FILE_MODE, FOLDER_MODE = 0o600, 0o700


def private_folder(path: Path) -> None:
    """Make a folder that only its owner enters, or make one that exists such a folder.

    A folder that everybody shares, as /tmp, stays as it is. Raises DataError where another user has put it there.
    """
    _check_links(path)
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    status = path.stat()
    if _user() not in (0, status.st_uid) and status.st_uid != 0:
        raise DataError(f"{path} belongs to another user; set RAG_HOME to a folder of your own")
    if not status.st_mode & stat.S_ISVTX:
        _restrict(path, FOLDER_MODE)


def private_file(path: Path) -> None:
    """Make an empty file that only its owner reads, or make one that exists such a file.

    Raises DataError where the path leads through a link that another user has put there, OSError where it cannot be
    made.
    """
    _check_links(path)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    _restrict(path, FILE_MODE)


def keep_private(path: Path) -> None:
    """Let only its owner read a file, or enter a folder with everything in it; nothing where it is not there.

    Links are left alone, with what they lead to.
    """
    if path.is_symlink() or not path.exists():
        return
    if not path.is_dir():
        _restrict(path, FILE_MODE)
        return
    _restrict(path, FOLDER_MODE)
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            each = Path(folder) / name
            if not each.is_symlink():
                _restrict(each, FOLDER_MODE if name in folders else FILE_MODE)


def write_private(path: Path, content: str | bytes) -> None:
    """`write_whole` of a file that nobody else can read, not even while it is written."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(temporary, flags, FILE_MODE), "wb") as stream:
        stream.write(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
    os.replace(temporary, path)


def _check_links(path: Path) -> None:
    """Raises DataError where a part of the path is a link of another user than this one and the system's."""
    for part in (path, *path.parents):
        with contextlib.suppress(OSError):
            status = part.lstat()
            if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, _user()):
                raise DataError(f"{part} is a link that another user has made; delete it, or set RAG_HOME elsewhere")


def _restrict(path: Path, mode: int) -> None:
    """Set the permissions where they are others; a file system without any, or a file of another user, stays."""
    with contextlib.suppress(OSError):
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0
