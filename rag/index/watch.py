"""Following folders until stopped: what is new, changed, renamed or deleted is in the index a moment later.

Folders are looked at again and again, which works on network drives, too. A look costs one `stat` for each file, and
only files that have changed are read. A file is taken once two looks in a row find it the same: one that is still being
written waits, and its former state stays until then.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.documents.collection import Ingested
from rag.documents.scan import look_now
from rag.errors import RagError
from rag.index.folder import read_current
from rag.index.follow import Followed, find_files
from rag.index.ingest import Making, Reading, Watching, ingest
from rag.index.read import read_sources

LONGEST_PAUSE_SECONDS = 300.0
JUST_WRITTEN_SECONDS = 5.0
REST = 9  # times as long as a look takes: looking costs a tenth of a processor at most

Stamp = tuple[int, int, int, int]
Seen = tuple[str, int, float]  # as `Look` gives it
_NEVER: Stamp = (-1, -1, -1, -1)


@dataclass(frozen=True, slots=True)
class Update:
    """One update: what the ingest did, or why it could not be done."""

    result: Ingested | None
    problem: str = ""


def watch(
    paths: Sequence[str | Path],
    index_folder: str | Path,
    reading: Reading,
    making: Making,
    *,
    on_update: Callable[[Update], None],
    stop: threading.Event,
    seconds: float,
    web_seconds: float,
    forget: Sequence[str | Path] = (),
    depth: int | None = None,
) -> None:
    """Ingest, and go on with every change until `stop` is set; it is looked at between two updates.

    Looks at folders every `seconds`, at web pages every `web_seconds`. Where a later update cannot be made, `on_update`
    is told why, once, and it is tried again after growing pauses. Raises what `ingest` raises of the first update.
    """
    watcher = _Watcher(index_folder, reading, making)
    on_update(Update(watcher.begin(paths, forget, depth)))
    next_visit = time.monotonic() + web_seconds
    pause, not_before = seconds, 0.0
    last_problem = ""
    look_seconds = 0.0
    while not stop.wait(max(seconds, min(REST * look_seconds, LONGEST_PAUSE_SECONDS))):
        visits = time.monotonic() >= next_visit and watcher.follows_pages()
        try:
            began = time.monotonic()
            has_changed = watcher.has_changed()
            look_seconds = time.monotonic() - began
            is_due = (has_changed or visits) and time.monotonic() >= not_before
            if not (has_changed or visits):  # whatever was wrong is over
                pause, last_problem = seconds, ""
            if visits and is_due:
                next_visit = time.monotonic() + web_seconds
            if is_due and not stop.is_set():
                on_update(Update(watcher.update(visits=visits)))
                pause, last_problem = seconds, ""
        except (RagError, OSError) as error:
            problem = _sentence(error)
            if problem != last_problem:
                on_update(Update(None, problem))
            last_problem = problem
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            not_before = time.monotonic() + pause


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


class Memory:
    """What files looked like at the last looks, and the state of each that was taken.

    `given` holds the hashes that the present walk took, by the files' paths.
    """

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self._last: dict[str, Stamp] = {}
        self._now: dict[str, Stamp] = {}
        self._taken: dict[str, tuple[Stamp, Seen]] = {}

    def begin_walk(self) -> None:
        """Begin another walk over the folders."""
        self.given = {}

    def begin_look(self) -> None:
        """Begin another walk that looks anew."""
        self.begin_walk()
        self._last, self._now = self._now, {}

    def end_update(self) -> None:
        """Forget files that are no longer there. Until now they may have been in the middle of being replaced."""
        self._taken = {name: taken for name, taken in self._taken.items() if name in self.given}

    def first(self, path: Path, status: os.stat_result) -> Seen | None:
        """Take a file as it is. One that was written a moment ago is read again by a later look."""
        seen = look_now(path, status)
        is_settled = abs(time.time() - status.st_mtime) > JUST_WRITTEN_SECONDS
        self._now[str(path)] = stamp_of(status)
        self._taken[str(path)] = (stamp_of(status) if is_settled else _NEVER), seen
        return self._give(path)

    def look(self, path: Path, status: os.stat_result) -> Seen | None:
        """Take a file as it is now if it was the same at the last look, else as it was taken before."""
        name, stamp = str(path), stamp_of(status)
        self._now[name] = stamp
        is_new = name not in self._taken or self._taken[name][0] != stamp
        if is_new and self._last.get(name) == stamp:
            seen = look_now(path, status)
            if stamp_of(path.stat()) == stamp:  # else it was written to while it was read
                self._taken[name] = stamp, seen
        return self._give(path)

    def again(self, path: Path, status: os.stat_result) -> Seen | None:
        """Take a file as the last look did."""
        return self._give(path)

    def _give(self, path: Path) -> Seen | None:
        taken = self._taken.get(str(path))
        if taken is None:
            return None
        self.given[str(path)] = taken[1][0]
        return taken[1]


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes when a file is written to, or replaced by another."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class _Watcher:
    """The folders of one index, and the state of them that it holds."""

    def __init__(self, index_folder: str | Path, reading: Reading, making: Making):
        self._index, self._reading, self._making = Path(index_folder), reading, making
        self._memory = Memory()
        self._held: dict[str, str] = {}  # path -> hash, of what the last update took
        self._seen: dict[str, str] = {}  # the same, of the last look
        self._roots: dict[str, tuple[int, int]] = {}

    def begin(self, paths: Sequence[str | Path], forget: Sequence[str | Path], depth: int | None) -> Ingested:
        """Ingest what is there now, as it is."""
        watching = Watching(look=self._memory.first)
        result = ingest(paths, self._index, self._reading, self._making, forget=forget, depth=depth, watching=watching)
        self._is_up_to_date()
        return result

    def has_changed(self) -> bool:
        """Whether a look at the folders finds another state than the index holds.

        A file that is being written does not count yet, nor one that is missing for the first time: it may be in the
        middle of being replaced. Raises DataError where a folder is gone.
        """
        self._memory.begin_look()
        max_bytes = int(self._reading.max_file_mib * 2**20)
        find_files(self._followed(), (), self._index, max_bytes, look=self._memory.look)
        before, self._seen = self._seen, self._memory.given
        is_missing_anew = any(name in before and name not in self._seen for name in self._held)
        return self._seen != self._held and not is_missing_anew

    def follows_pages(self) -> bool:
        """Whether there are web pages to look at."""
        return bool(self._followed().sites)

    def update(self, *, visits: bool) -> Ingested:
        """Bring the index to the state that the last look found."""
        self._memory.begin_walk()
        watching = Watching(
            look=self._memory.again, is_really_empty=self._is_really_empty, may_end_empty=True, visits=visits
        )
        result = ingest([], self._index, self._reading, self._making, watching=watching)
        self._is_up_to_date()
        return result

    def _is_up_to_date(self) -> None:
        self._memory.end_update()
        self._held = self._seen = self._memory.given
        for root in self._followed().files:
            # The place where a drive is to be mounted is another folder than the drive: known by what holds something.
            if Path(root).is_dir() and (root not in self._roots or os.listdir(root)):
                status = Path(root).stat()
                self._roots[root] = status.st_dev, status.st_ino

    def _is_really_empty(self, root: str) -> bool:
        """Whether an empty folder is the same one that was there before, and no drive that is not mounted."""
        status = Path(root).stat()
        return self._roots.get(root) == (status.st_dev, status.st_ino)

    def _followed(self) -> Followed:
        """What the index follows now: another command may have changed it."""
        generation = read_current(self._index)
        return Followed(**read_sources(generation)) if generation is not None else Followed()
