"""Ctrl-C and SIGTERM end work that goes on until it is stopped, at its next good moment."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from rag.progress import say


@contextlib.contextmanager
def stopped_by_signals(
    said: str = "ending after what is under way; once more ends it at once",
) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, with a line for the person; a second one interrupts at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say(said)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_is_all_said = threading.Event()


def all_is_said() -> None:
    """Nothing is left to do but to end: giving the memory of models back piece by piece takes a second and more."""
    _is_all_said.set()


def end_if_all_is_said(status: object) -> None:
    """End this process now, where `all_is_said`, with the exit status of a SystemExit."""
    if _is_all_said.is_set():
        end_now(status if isinstance(status, int) else int(status is not None))


def end_now(status: int = 0) -> NoReturn:
    """End this process as it would end by itself, without waiting for its threads.

    One that loads a model, in code that is not Python's, would otherwise abort the process on its last step.
    """
    atexit._run_exitfuncs()
    _leave(status)


def end_at_once() -> NoReturn:
    """End this process now, whatever its threads do, with the exit status of an interrupted one."""
    _leave(128 + signal.SIGINT)


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
