"""Documents that are being added: each waits, is read, and then is ready or left out with a reason.

One thread reads them, those for the same place together. Each person sees what they add themselves; what is done is
shown until they take it from the list, or for a day.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rag.errors import IndexBusyError, RagError, Stopped
from rag.progress import Background
from rag.terminal import plain_logger

State = Literal["waiting", "reading", "ready", "left out"]
ENDED = ("ready", "left out")
AT_ONCE = 200
MOST_KEPT = 5000
SPARE = 1000  # how many more may come: of those that have ended, the oldest go
KEPT_SECONDS = 24 * 3600.0
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_TRIES = 1.0
BUSY = "another command is changing the index; this goes on when it is done"
STOPPED = "stopped before it was read"

log = plain_logger(__name__)


@dataclass(slots=True)
class Item:
    """A file or a web page on its way to the documents.

    `source` is the path of the file, or the address. `collection` is the one it goes to, "" for that of all added
    files; `folder` the one below, as it was sent. `attached` is the key of the conversation that it is for, "" for
    everybody's documents. `document` is the SHA-256 that it has there, once it is ready.
    """

    name: str
    person: str
    source: str
    collection: str = ""
    folder: str = ""
    attached: str = ""
    is_address: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "waiting"
    reason: str = ""
    document: str = ""
    since: float = field(default_factory=time.time)

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What goes there together: pages one by one."""
        return self.person, self.attached, self.collection, self.source if self.is_address else ""

    def end(self, state: State, reason: str = "", document: str = "") -> None:
        """It is done."""
        self.state, self.reason, self.document, self.since = state, reason, document, time.time()


Take = Callable[[Sequence[Item]], None]
"""Takes items of one place in, and ends each; raises RagError where none of them could be taken."""


class Intake:
    """What is being added. `take` takes it in; `done` is called with items that have ended, whatever became of them."""

    def __init__(self, take: Take, done: Callable[[Sequence[Item]], None] = lambda items: None):
        self._take, self._done = take, done
        self._items: dict[str, Item] = {}
        self._work: Background[None] | None = None
        self._progress = ""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.n_changes = 0
        """How often documents may have changed; a page lists them again where it is another number than before."""

    def add(self, items: Sequence[Item]) -> None:
        """Put items into the line; those that have ended already are only shown. Raises RagError where it is full."""
        with self._changed:
            self._sweep()
            if len(self._items) + len(items) > MOST_KEPT:
                raise RagError("too many documents are waiting; add more when these are done")
            self._items |= {item.id: item for item in items}
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def of(self, person: str, attached: str = "") -> list[Item]:
        """What a person adds, to everybody's documents and to this conversation, the first first."""
        with self._changed:
            return [item for item in self._items.values() if item.person == person and item.attached in ("", attached)]

    @property
    def progress(self) -> str:
        """How far the work is that is done now, in words; "" for none."""
        work = self._work
        return work.latest.line() if work is not None and work.latest is not None else ""

    def drop(self, person: str, item_id: str) -> bool:
        """Stop an item, or take one that has ended from the list; whether there is such an item of this person's.

        Those that are read together with it stop, too.
        """
        with self._changed:
            item = self._items.get(item_id)
            if item is None or item.person != person:
                return False
            if item.state == "reading":
                if self._work is not None:
                    self._work.stop()
                return True
            del self._items[item_id]
        if item.state == "waiting":
            item.end("left out", STOPPED)
            self._done([item])
        return True

    def changed(self) -> None:
        """Documents have changed."""
        with self._changed:
            self.n_changes += 1

    def wait_until_idle(self, seconds: float) -> bool:
        """Whether everything has ended; waits for it, but no longer than this."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(item.state in ENDED for item in self._items.values()), timeout=seconds
            )

    def _sweep(self) -> None:
        old = time.time() - KEPT_SECONDS
        ended = [item for item in self._items.values() if item.state in ENDED]
        too_many = max(len(self._items) - MOST_KEPT + SPARE, 0)
        for item in [*(item for item in ended if item.since < old), *ended[:too_many]]:
            self._items.pop(item.id, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: any(item.state == "waiting" for item in self._items.values()))
                waiting = [item for item in self._items.values() if item.state == "waiting"]
                batch = [item for item in waiting if item.place == waiting[0].place][:AT_ONCE]
                for item in batch:
                    item.state, item.reason = "reading", ""
            try:
                self._read(batch)
            except Exception:
                log.exception("adding documents failed")
            self._end(batch)

    def _read(self, batch: Sequence[Item]) -> None:
        """Take items in, together or, where that fails, one by one, so that each has its own reason."""
        try:
            self._taken(batch)
        except Stopped:
            for item in batch:
                item.end("left out", STOPPED)
        except (RagError, OSError) as error:
            if len(batch) == 1:
                reason = str(error) if isinstance(error, RagError) else error.strerror or str(error)
                batch[0].end("left out", reason)
                return
            for item in batch:
                if item.state not in ENDED:
                    self._read([item])

    def _taken(self, batch: Sequence[Item]) -> None:
        """Take items in, as soon as nothing else changes the index."""
        while True:
            self._work = work = Background(lambda: self._take(batch))
            try:
                while not work.wait(SECONDS_BETWEEN_LOOKS):
                    pass
                work.result()
                return
            except IndexBusyError:
                for item in batch:
                    item.reason = BUSY
                time.sleep(SECONDS_BETWEEN_TRIES)
            finally:
                self._work = None

    def _end(self, batch: Sequence[Item]) -> None:
        for item in batch:
            if item.state not in ENDED:
                item.end("left out", "something went wrong; the log of the chat says what")
        self._done(batch)
        with self._changed:
            self.n_changes += 1
            self._changed.notify_all()


def outcome_of(item: Item, sha256: str, documents: Sequence[Any], left_out: Mapping[str, str], copy: str) -> None:
    """End an item by what an ingest says of the documents that there are, and of the files that were left out."""
    if any(document.sha256 == sha256 for document in documents):
        item.end("ready", document=sha256)
    else:
        item.end("left out", left_out.get(copy, "holds nothing that can be read"))
