"""The pieces of an answer that an engine writes in a thread of its own, which ends when nobody wants more of them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

from rag.progress import Waiting, who_waits, working_for


def deltas(write: Callable[[Callable[[str], None]], None]) -> Iterator[str]:
    """The pieces that `write` hands on, from a thread that begins with the first one asked for.

    The thread works for whoever reads the pieces. They leave when the iterator is closed, or when somebody whom the
    reading thread works for leaves; the iterator then raises Left at once, even while it waits for a piece. `write` has
    to look, between two tokens, whether its reader is still there (`rag.progress.who_waits`). What it raises is raised
    here.
    """
    asker, reader = who_waits(), Waiting()
    # A piece, then None or an error.
    pieces: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            with working_for(reader):
                write(pieces.put)
            pieces.put(None)
        except Exception as error:
            pieces.put(error)

    def leave() -> None:
        reader.leave()
        pieces.put(None)

    try:
        with asker.telling(leave) if asker is not None else contextlib.nullcontext():
            if asker is not None:
                asker.check()
            threading.Thread(target=work, daemon=True).start()
            while (piece := pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            if asker is not None:
                asker.check()
    finally:
        reader.leave()
