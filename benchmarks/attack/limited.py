"""Work within a limit of processor time, in a child process: what is quadratic does not come to its end there."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from collections.abc import Callable, Mapping


def unfinished(work: Mapping[str, Callable[[], object]], seconds: int) -> list[str]:
    """The names of the pieces of work that took more than so much processor time, or crashed; exceptions are fine.

    The system ends the child, so that no clock is read to judge, and what runs beside it makes no difference.
    """
    names = list(work)
    failed: list[str] = []
    while names and (found := first_unfinished({name: work[name] for name in names}, seconds)) is not None:
        failed.append(found)
        names = names[names.index(found) + 1 :]
    return failed


def first_unfinished(work: Mapping[str, Callable[[], object]], seconds: int) -> str | None:
    """The first of these pieces that does not come to its end; None where all do."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        gc.freeze()  # what the parent holds, such as compiled models with threads, is not the child's to clear away
        for piece in work.values():
            _limit(seconds)
            os.write(writing, b".")
            with contextlib.suppress(Exception):  # refused: that is an end, too
                piece()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        n_begun = len(told.read())
    return None if os.waitpid(child, 0)[1] == 0 else list(work)[n_begun - 1]


def _limit(seconds: int) -> None:
    """So much more processor time from now on."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds, hard))
