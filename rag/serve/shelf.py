"""The index that the chat serves, and what replaces it when files are added."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.documents.ingested_lines import ingested_lines
from rag.errors import DataError
from rag.index.folder import read_current, serving_manifest
from rag.lazy import Lazy
from rag.retrieve.joined import JoinedRetriever
from rag.serve.attachments import Attachments

if TYPE_CHECKING:
    from rag.build.retrievers import Retrievers
    from rag.documents.collection import Ingested
    from rag.retrieve.encoder import Encoder
    from rag.serve.chat import Chat
    from rag.types import Retriever

SECONDS_BETWEEN_LOOKS = 2.0

log = logging.getLogger(__name__)


class Shelf:
    """The documents that answers come from: those of the index, and those of single conversations.

    `open_retrievers` opens the index as it is now; it is given an encoder that is loaded already, or None. `add_files`
    adds files to the index.
    """

    def __init__(
        self,
        index: str | Path,
        open_retrievers: Callable[[Lazy[Encoder] | None], Retrievers],
        add_files: Callable[[Sequence[str]], Ingested],
        attachments: Attachments,
    ):
        self.index = Path(index)
        self.retrievers = open_retrievers(None)
        self.attachments = attachments
        self._generation = read_current(self.index)
        self._lock = threading.Lock()
        self._open_retrievers = open_retrievers
        self._add_files = add_files

    def add(self, paths: Sequence[str], chat: Chat) -> Sequence[str]:
        """Add files to the index and let the chat search them; returns lines that say what was done."""
        result = self._add_files(paths)
        with self._lock:
            self._open_again(chat)
        return ingested_lines(result, self.index)[:-1]

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
        chat.retrievers = retrievers.each()
        self._generation = generation

    def narrowed(self, kind: str, collections: Sequence[str] | None, attached: str) -> Lazy[Retriever]:
        """A retriever over some collections (None: all; none of them where empty), and over attached files."""
        retrievers = self.retrievers
        parts: list[Callable[[], Retriever]] = []
        if collections is None or collections:
            parts.append(lambda: retrievers.get(kind, collections))
        if attached:
            parts.append(lambda: self.attachments.retriever(attached, kind))
        if len(parts) == 1:
            return Lazy(parts[0])
        return Lazy(lambda: JoinedRetriever([part() for part in parts]))
