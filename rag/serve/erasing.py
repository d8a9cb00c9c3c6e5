"""Everything that is kept of a person's conversations, deleted for good, over all indexes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from rag.serve.history import History

_KEY = re.compile(r"[0-9a-f]{32}")


def files_folder(history_path: Path) -> Path:
    """Where the files of the conversations in a store are: hidden, beside it."""
    return history_path.with_name(f".{history_path.stem}.files")


def erase_person(home: Path, person: str) -> int:
    """Delete a person's conversations, judgements and files below the user's folder; returns how many conversations.

    Those that they deleted themselves, and could still restore, go too. Raises DataError where a store is damaged.
    """
    n = 0
    for path in sorted((home / "conversations").glob("*.sqlite")):
        history = History(path)
        n += sum(len(history.find(person, limit=10**9, deleted=deleted)) for deleted in (False, True))
        for key in history.erase(person):
            if _KEY.fullmatch(key):
                shutil.rmtree(files_folder(path) / key, ignore_errors=True)
    return n
