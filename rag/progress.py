"""A progress bar on stderr with rate and time left; where stderr is no terminal, a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

LINE_EVERY_SECONDS = 30.0


class Progress:
    """Counts work done; `advance` is what callers need."""

    def __init__(self, label: str, total: int, unit: str):
        self.label, self.total, self.unit = label, total, unit
        self.done, self.started, self._last_line = 0, time.monotonic(), time.monotonic()

    def advance(self, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            rate = self.done / max(now - self.started, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            print(
                f"{self.label}: {self.done:,} of {self.total:,} {self.unit}, {rate:,.1f}/s, {left:,.0f} s left",
                file=sys.stderr,
                flush=True,
            )


class _Bar(Progress):
    def __init__(self, label: str, total: int, unit: str, bar, task):
        super().__init__(label, total, unit)
        self._bar, self._task = bar, task

    def advance(self, n: int = 1) -> None:
        self.done += n
        rate = self.done / max(time.monotonic() - self.started, 1e-9)
        self._bar.update(self._task, advance=n, rate=f"{rate:,.1f} {self.unit}/s")


@contextmanager
def progress(label: str, total: int, unit: str = "items", *, already_done: int = 0) -> Iterator[Progress]:
    """Show progress over `total` items; `already_done` of them came from an earlier run and do not count as speed."""
    if total - already_done <= 0:
        yield Progress(label, total, unit)
        return
    if not sys.stderr.isatty():
        plain = Progress(label, total - already_done, unit)
        yield plain
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
        yield _Bar(label, total, unit, bar, task)


def say(text: str) -> None:
    """One line for the person at the terminal, beside the results on stdout."""
    print(text, file=sys.stderr, flush=True)
