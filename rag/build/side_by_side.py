"""The parts of a pipeline loaded at the same time."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from rag.lazy import Lazy


def load_side_by_side(*parts: Lazy[Any]) -> None:
    """Start loading parts, each in a thread of its own, and return at once.

    Whoever asks for a part waits for its thread. Where loading fails, it is tried again when the part is asked for, and
    raises there. A program that ends earlier waits for its threads: one cut off inside a library can abort it.
    """
    for part in parts:
        threading.Thread(target=_load, args=(part,)).start()


def _load(part: Lazy[Any]) -> None:
    with contextlib.suppress(Exception):
        part.get()
