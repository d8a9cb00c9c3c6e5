"""The notes that running chats leave for `rag ask` and `rag status`: which index, where, and a secret.

They lie below RAG_HOME, and only their owner reads them (`rag.private`). A note of a chat that is gone is deleted by
whoever finds it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.errors import DataError
from rag.files import json_if_sound
from rag.index.known import known_folder
from rag.private import private_folder, write_private
from rag.terminal import json_text


@dataclass(frozen=True, slots=True)
class ChatNote:
    """A chat that runs: its index, the address of its page, and the port on this machine where it hears `rag ask`."""

    index: str
    address: str
    port: int
    secret: str
    process: int
    version: str
    started: float


def leave_note(note: ChatNote) -> Path | None:
    """Write a note; None where it cannot be written, and the chat is not found."""
    folder = known_folder() / "chats"
    name = f"{hashlib.sha256(note.index.encode()).hexdigest()[:16]}-{note.process}.json"
    with contextlib.suppress(OSError, DataError):
        private_folder(known_folder())
        private_folder(folder)
        write_private(folder / name, json_text(asdict(note)) + "\n")
        return folder / name
    return None


def notes_of(index: str | Path | None = None) -> list[ChatNote]:
    """The notes of chats that run over an index, or (None) over any; the one that began last first."""
    wanted = None if index is None else str(Path(index).resolve())
    found = [note for path in (known_folder() / "chats").glob("*.json") if (note := _read(path)) is not None]
    return sorted((note for note in found if wanted in (None, note.index)), key=lambda note: -note.started)


def new_note(index: str | Path, address: str, port: int, secret: str, version: str) -> ChatNote:
    """The note of this process."""
    return ChatNote(str(Path(index).resolve()), address, port, secret, os.getpid(), version, time.time())


def _read(path: Path) -> ChatNote | None:
    """A note that its owner alone can have written, of a process that is there."""
    with contextlib.suppress(OSError, TypeError, ValueError):
        status = path.lstat()
        is_own = not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
        note = ChatNote(**(json_if_sound(path) or {})) if is_own and not path.is_symlink() else None
        if note is None or _is_there(int(note.process)):
            return note
        path.unlink(missing_ok=True)
    return None


def _is_there(process: int) -> bool:
    if os.name == "nt":  # there, asking would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
