"""A progress bar on stderr with rate and time left; where stderr is no terminal, a line now and then.

Work in the background can be watched by its latest progress, and stopped between two steps.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

from rag.errors import Stopped

LINE_EVERY_SECONDS = 30.0

T = TypeVar("T")
_on_advance: contextvars.ContextVar[Callable[[Progress], None] | None] = contextvars.ContextVar(
    "on_advance", default=None
)


class Progress:
    """Counts the work done, of `total` items; callers call `advance`."""

    def __init__(self, label: str, total: int, unit: str):
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self.started = time.monotonic()
        self._last_line = self.started
        self._on_advance = _on_advance.get()

    def advance(self, n: int = 1) -> None:
        """`n` more items are done; 0 says only that the work goes on. Raises Stopped where a person stopped it."""
        self.done += n
        self._show(n)
        if self._on_advance is not None:
            self._on_advance(self)

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.done / max(time.monotonic() - self.started, 1e-9)

    def line(self) -> str:
        """What is done, how fast it goes, and how long it will take."""
        left = (self.total - self.done) / max(self.rate, 1e-9)
        return f"{self.label}: {self.done:,} of {self.total:,} {self.unit}, {self.rate:,.1f}/s, {left:,.0f} s left"

    def _show(self, n: int) -> None:
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            print(self.line(), file=sys.stderr, flush=True)


class _Bar(Progress):
    def __init__(self, label: str, total: int, unit: str, bar, task):
        super().__init__(label, total, unit)
        self._bar = bar
        self._task = task

    def _show(self, n: int) -> None:
        self._bar.update(self._task, advance=n, rate=f"{self.rate:,.1f} {self.unit}/s")


@contextmanager
def progress(label: str, total: int, unit: str = "items", *, already_done: int = 0) -> Iterator[Progress]:
    """Show progress over `total` items; `already_done` of them came from an earlier run and do not count as speed."""
    if total - already_done <= 0:
        yield Progress(label, total, unit)
        return
    if not sys.stderr.isatty():
        yield Progress(label, total - already_done, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=already_done, rate="")
        yield _Bar(label, total - already_done, unit, bar, task)


class Background(Generic[T]):
    """A call in a thread of its own. `latest` is its progress, None before its first step."""

    def __init__(self, work: Callable[[], T]):
        self.latest: Progress | None = None
        self._work = work
        self._stop = threading.Event()
        self._future: Future[T] = Future()
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """End the call at its next step, with `Stopped`."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Whether the call has ended; waits for its end, but no longer than this."""
        try:
            self._future.exception(seconds)
        except TimeoutError:
            return False
        return True

    def result(self) -> T:
        """What the call returned; raises what it raised."""
        return self._future.result()

    def _run(self) -> None:
        _on_advance.set(self._step)
        try:
            self._future.set_result(self._work())
        except BaseException as error:
            self._future.set_exception(error)

    def _step(self, done: Progress) -> None:
        self.latest = done
        if self._stop.is_set():
            raise Stopped("Stopped before it was done.")


def say(text: str) -> None:
    """One line for the person at the terminal, beside the results on stdout."""
    print(text, file=sys.stderr, flush=True)
