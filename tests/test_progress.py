"""Work in the background: watched, and stopped between two steps."""

import threading
import time

import pytest

from rag.errors import DataError, Stopped
from rag.progress import Background, Progress, progress


def test_a_call_in_the_background_returns_or_raises_as_it_would():
    work = Background(lambda: 7)
    assert work.wait(10)
    assert work.result() == 7
    assert work.latest is None

    def fails():
        raise DataError("no such file")

    with pytest.raises(DataError, match="no such file"):
        Background(fails).result()


def test_work_in_the_background_tells_how_far_it_is_and_can_be_stopped():
    step, done = threading.Semaphore(0), []

    def count():
        with progress("Counting", 1_000, "sheep") as bar:
            for n in range(1_000):
                step.acquire(timeout=10)
                bar.advance()
                done.append(n)

    work = Background(count)
    step.release(3)
    while len(done) < 3:
        assert not work.wait(0.01)
    assert work.latest.line().startswith("Counting: 3 of 1,000 sheep, ")
    assert " s left" in work.latest.line()
    work.stop()
    step.release()
    with pytest.raises(Stopped):
        work.result()
    assert len(done) == 3


def test_work_elsewhere_is_not_touched():
    work = Background(lambda: threading.Event().wait(5))
    work.stop()
    with progress("Here", 2) as bar:
        bar.advance(2)
    assert work.latest is None


def test_slow_work_is_told_by_the_minute():
    bar = Progress("Writing", 40, "passages")
    bar.done = 2
    bar.started = time.monotonic() - 100
    assert bar.line().startswith("Writing: 2 of 40 passages, 1.2/min, ")
    bar.started = time.monotonic() - 10
    assert bar.line().startswith("Writing: 2 of 40 passages, 0.2/s, ")
