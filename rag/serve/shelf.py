"""The index that the chat serves, and what replaces it when files are added."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rag.documents.ingested_lines import ingested_lines
from rag.documents.records import HASH_CHARACTERS
from rag.errors import DataError, IndexBusyError
from rag.index.folder import read_current, serving_manifest
from rag.index.read import read_sources
from rag.lazy import Lazy
from rag.retrieve.joined import JoinedRetriever
from rag.retrieve.placed import Collections
from rag.terminal import plain_logger

if TYPE_CHECKING:
    from rag.build.retrievers import Retrievers
    from rag.documents.collection import Ingested
    from rag.retrieve.encoder import Encoder
    from rag.serve.attachments import Attachments
    from rag.serve.chat import Chat
    from rag.types import Retriever

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_BETWEEN_TRIES = 0.5
T = TypeVar("T")
Remove = Callable[[str, Callable[[Mapping], bool]], "Ingested"]

log = plain_logger(__name__)


def when_free(change: Callable[[], T], patience: float) -> T:
    """What a change of an index returns, as soon as no other command changes it.

    Raises IndexBusyError where that takes longer than `patience`, in seconds.
    """
    give_up = time.monotonic() + patience
    while True:
        try:
            return change()
        except IndexBusyError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(SECONDS_BETWEEN_TRIES)


class Shelf:
    """The documents that answers come from: those of the index, and those of single conversations.

    `open_retrievers` opens the index as it is now; it is given an encoder that is loaded already, or None. `add_files`
    adds files to the index; `add_address` a web page, to a collection ("" for that of its host); `remove` takes a
    document out of it by its SHA-256, from the places that a function says (`take_out`).
    """

    def __init__(
        self,
        index: str | Path,
        open_retrievers: Callable[[Lazy[Encoder] | None], Retrievers],
        add_files: Callable[..., Ingested],
        attachments: Attachments,
        add_address: Callable[[str, str], Ingested] | None = None,
        remove: Remove | None = None,
    ):
        self.index = Path(index)
        self.retrievers = open_retrievers(None)
        self.attachments = attachments
        self._generation = read_current(self.index)
        self._lock, self._changing = threading.Lock(), threading.Lock()
        self._open_retrievers = open_retrievers
        self._add_files = add_files
        self.add_address, self._remove = add_address, remove
        self._hidden: frozenset[str] = frozenset()
        self._listed: tuple[object, frozenset[str], Collections] | None = None

    def add(self, paths: Sequence[str], chat: Chat) -> Sequence[str]:
        """Add files to the index and let the chat search them; returns lines that say what was done."""
        return ingested_lines(self.take_in(paths, chat), self.index)[:-1]

    def take_in(
        self, paths: Sequence[str], chat: Chat, collection: str = "", within: Mapping[str, str] | None = None
    ) -> Ingested:
        """As `add`; returns what was done. `collection` and `within` as for `rag.index.uploads.add_uploads`."""
        more = {"collection": collection} if collection else {}
        return self.change(lambda: self._add_files(paths, **more, **({"within": within} if within else {})), chat)

    def take_out(
        self,
        sha256: str,
        chat: Chat,
        within: Callable[[Mapping], bool] = lambda place: True,
        remove: Remove | None = None,
        *,
        patience: float = 0.0,
    ) -> Ingested:
        """Take a document out of the index, from the places that `within` says, by `remove` or else the shelf's own.

        Where these are all of its places, nobody finds it from now on, however long the index takes. Raises DataError
        where it cannot be taken out, IndexBusyError where another command changes the index for `patience` seconds.
        """
        by = remove or self._remove
        if by is None:
            raise DataError(f"documents of {self.index} cannot be removed here")
        rows = [row for rows in self.retrievers.collections().values() for row in rows if row["sha256"] == sha256]
        goes = bool(rows) and all(within(place) for place in rows[0]["paths"])
        if goes:
            self._hide({*self._hidden, sha256[:HASH_CHARACTERS]}, chat)
        try:
            return when_free(lambda: self.change(lambda: by(sha256, within), chat), patience)
        finally:  # it is gone; or it could not be taken out, and is there as before
            if goes:
                self._hide({*self._hidden} - {sha256[:HASH_CHARACTERS]}, chat)

    def _hide(self, documents: Collection[str], chat: Chat) -> None:
        """Let nobody find these documents, by the beginnings of their hashes, and all others be found."""
        with self._lock:
            self._hidden = frozenset(documents)
            each = self._each()
            with contextlib.suppress(DataError):  # what was loaded stays loaded
                for kind, retriever in chat.retrievers.items():
                    if retriever.loaded:
                        each[kind].get()
            chat.retrievers = each

    def _each(self) -> dict[str, Lazy[Retriever]]:
        retrievers, hidden = self.retrievers, self._hidden
        each = retrievers.each()
        if not hidden:
            return each
        return {kind: Lazy(partial(retrievers.get, kind, hidden=hidden)) for kind in each}

    def change(self, change: Callable[[], Ingested], chat: Chat) -> Ingested:
        """Change the index, and let the chat search it as it is then; returns what was done."""
        with self._changing:  # one change after another
            result = change()
            with self._lock:
                self._open_again(chat)
        return result

    def collections(self) -> Mapping[str, Sequence[Mapping]]:
        """The documents by their collection, as `Retrievers.collections`, without those that are being removed."""
        everything, hidden = self.retrievers.collections(), self._hidden
        if not hidden:
            return everything
        known = self._listed
        if known is None or known[0] is not everything or known[1] != hidden:  # the same object again and again
            seen = {
                name: [row for row in rows if row["sha256"][:HASH_CHARACTERS] not in hidden]
                for name, rows in everything.items()
            }
            known = self._listed = everything, hidden, {name: rows for name, rows in seen.items() if rows}
        return known[2]

    def left_out(self) -> Mapping[str, str]:
        """The files below followed folders that could not be read the last time (path -> reason)."""
        generation = read_current(self.index)
        if generation is None or serving_manifest(self.index)[1].corpus_path:
            return {}
        return read_sources(generation).get("left_out", {})

    def follow(self, chat: Chat) -> bool:
        """Let the chat search the generation that serves now, where that is another one than it searches.

        Says whether it is: `rag ingest --watch`, or any other command, has changed the index.
        """
        with self._lock:
            current = read_current(self.index)
            if current is None or current == self._generation:
                return False
            self._open_again(chat)
            return True

    def keep_following(self, chat: Chat, seconds: float = SECONDS_BETWEEN_LOOKS) -> threading.Event:
        """`follow` again and again, in a thread, until the event that is returned is set."""
        stop = threading.Event()

        def work() -> None:
            problem = ""
            while not stop.wait(seconds):
                try:
                    self.follow(chat)
                except Exception as error:  # the chat goes on with what it has, and the next look tries again
                    if str(error) != problem:
                        problem = str(error)
                        log.warning("%s has changed, and cannot be opened: %s", self.index, problem)

        threading.Thread(target=work, daemon=True).start()
        return stop

    def _open_again(self, chat: Chat) -> None:
        """Open the index as it is now. What is being answered meanwhile keeps what it has."""
        generation = read_current(self.index)
        encoder = self.retrievers.encoder
        # The index was built again where another encoder has been promoted: the one that is loaded no longer fits.
        is_replaced = encoder.loaded and encoder.get().fingerprint != serving_manifest(self.index)[1].encoder
        retrievers = self._open_retrievers(None if is_replaced else encoder)
        # What was loaded is loaded again before it takes over: no question waits for it, and the files of a generation
        # that two updates have left behind are deleted.
        with contextlib.suppress(DataError):  # there may be no documents left
            for kind, retriever in chat.retrievers.items():
                if retriever.loaded:
                    retrievers.get(kind)
        self.retrievers = retrievers
        chat.retrievers = self._each()
        self._generation = generation

    def narrowed(self, kind: str, collections: Sequence[str] | None, attached: str) -> Lazy[Retriever]:
        """A retriever over some collections (None: all; none of them where empty), and over attached files."""
        retrievers, hidden = self.retrievers, self._hidden

        parts: list[Callable[[], Retriever]] = []
        if collections is None or collections:
            parts.append(lambda: retrievers.get(kind, collections, hidden=hidden))
        if attached:
            parts.append(lambda: self.attachments.retriever(attached, kind))
        if len(parts) == 1:
            return Lazy(parts[0])
        return Lazy(lambda: JoinedRetriever([part() for part in parts]))
