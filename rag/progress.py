"""A progress bar on stderr with rate and time left; where stderr is no terminal, a line now and then.

Work in the background can be watched by its latest progress, and stopped between two steps. Work for somebody who waits
is stopped between two steps once they have left.
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

from rag.errors import Left, Stopped
from rag.terminal import QUIET, loudness, one_line, redraw, tell, unguarded

LINE_EVERY_SECONDS = 30.0
SLOW = 0.1  # items a second; slower work is told by the minute

T = TypeVar("T")
_on_advance: contextvars.ContextVar[Callable[[Progress], None] | None] = contextvars.ContextVar(
    "on_advance", default=None
)
_waiting: contextvars.ContextVar[Waiting | None] = contextvars.ContextVar("waiting", default=None)
LOOK_EVERY_SECONDS = 0.1
_in_line: set[object] = set()


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
        """What is done, and once something is, how fast it goes and how long it will take."""
        if not self.done:
            return f"{self.label}: 0 of {self.total:,} {self.unit}"
        left = (self.total - self.done) / max(self.rate, 1e-9)
        return f"{self.label}: {self.done:,} of {self.total:,} {self.unit}, {self._speed()}, {left:,.0f} s left"

    def _speed(self, unit: str = "") -> str:
        """Items of a unit a second, or a minute where they are few."""
        of = f" {unit}" if unit else ""
        return f"{self.rate:,.1f}{of}/s" if self.rate >= SLOW else f"{60 * self.rate:,.1f}{of}/min"

    def _show(self, n: int) -> None:
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            tell(self.line())


class _Bar(Progress):
    def __init__(self, label: str, total: int, unit: str, bar, task):
        super().__init__(label, total, unit)
        self._bar = bar
        self._task = task

    def _show(self, n: int) -> None:
        self._bar.update(self._task, advance=n, rate=self._speed(self.unit))


@contextmanager
def progress(label: str, total: int, unit: str = "items", *, already_done: int = 0) -> Iterator[Progress]:
    """Show progress over `total` items; `already_done` of them came from an earlier run and do not count as speed."""
    if total - already_done <= 0:
        yield Progress(label, total, unit)
        return
    if not sys.stderr.isatty() or loudness() == QUIET:
        yield Progress(label, total - already_done, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(file=unguarded(sys.stderr))) as bar:
        task = bar.add_task(one_line(label), total=total, completed=already_done, rate="")
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


class Waiting:
    """Somebody who waits for an answer, until they leave. `names` are what they are known by.

    Leaving may be told from any thread. `reason` is a sentence for them, where it is not they who went.
    """

    def __init__(self, *names: str):
        self.names = frozenset(names)
        self.reason = ""
        self._lock = threading.Lock()
        self._has_left = False
        self._listeners: dict[object, Callable[[], object]] = {}

    @property
    def has_left(self) -> bool:
        """Whether nobody waits any more."""
        return self._has_left

    def leave(self, reason: str = "") -> None:
        """Nobody waits from now on; what listens is told, once."""
        with self._lock:
            if self._has_left:
                return
            self._has_left, self.reason = True, reason
            listeners = [*self._listeners.values()]
        for tell_it in listeners:
            tell_it()

    def check(self) -> None:
        """Raises Left where nobody waits any more."""
        if self._has_left:
            raise Left(self.reason)

    @contextmanager
    def telling(self, listener: Callable[[], object]) -> Iterator[None]:
        """Inside this, `listener` is called when they leave, by the thread that says so; at once where they have."""
        key = object()
        with self._lock:
            is_late = self._has_left
            self._listeners[key] = listener
        try:
            if is_late:
                listener()
            yield
        finally:
            with self._lock:
                del self._listeners[key]


@contextmanager
def working_for(waiting: Waiting | None) -> Iterator[None]:
    """Inside this, what this thread does is done for somebody, or (None) whether anybody waits or not."""
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)


def who_waits() -> Waiting | None:
    """For whom this thread works; None where it works on, whoever leaves."""
    return _waiting.get()


def check_waiting() -> None:
    """Raises Left where whoever this thread works for has left: called between two steps of long work."""
    if (waiting := _waiting.get()) is not None:
        waiting.check()


def steps_for(waiting: Waiting, steps: Iterator[T]) -> Iterator[T]:
    """The same steps, each of them made for somebody; raises Left in the place of the next one once they have left."""
    try:
        while True:
            with working_for(waiting):
                waiting.check()
                try:
                    step = next(steps)
                except StopIteration:
                    return
            yield step
    finally:
        if (close := getattr(steps, "close", None)) is not None:
            close()


@contextmanager
def holding(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock. Raises Left where whoever this thread works for leaves before it is free: they never start."""
    if not lock.acquire(blocking=False):
        _take_in_line(lock)
    try:
        check_waiting()
        yield
    finally:
        lock.release()


def _take_in_line(lock: threading.Lock) -> None:
    """Take a lock that somebody else holds, once it is free. Raises Left."""
    key = object()
    _in_line.add(key)
    try:
        if _waiting.get() is None:
            lock.acquire()
            return
        while not lock.acquire(timeout=LOOK_EVERY_SECONDS):
            check_waiting()
    finally:
        _in_line.discard(key)


def n_in_line() -> int:
    """How many threads wait for something that another one holds, such as a busy model."""
    return len(_in_line)


class Spinner:
    """A line on stderr that says what is done, and for how long; nothing where stderr is no terminal, or with -q.

    It goes away with the first result that is shown.
    """

    FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def __init__(self, text: str):
        self._text = text
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if sys.stderr.isatty() and loudness() != QUIET:
            self._thread = threading.Thread(target=self._turn, daemon=True)
            self._thread.start()

    def say(self, text: str) -> None:
        """What is done now."""
        self._text = text

    def end(self) -> None:
        """Take the line away; a second call does nothing."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            redraw("")

    def __enter__(self) -> Spinner:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def _turn(self) -> None:
        started, n = time.monotonic(), 0
        while not self._ended.wait(LOOK_EVERY_SECONDS):
            n += 1
            redraw(f"{self.FRAMES[n % len(self.FRAMES)]} {self._text} {time.monotonic() - started:.0f} s")


def say(text: str) -> None:
    """One line for the person at the terminal, beside the results on stdout."""
    tell(text)
