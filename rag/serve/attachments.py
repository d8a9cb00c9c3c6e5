"""Files that only one conversation answers from: each conversation has an index of its own.

ROOT/KEY/files/   copies of the files that were added to the conversation KEY
ROOT/KEY/index/   their index
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.documents.ingested_lines import ingested_lines
from rag.errors import DataError, IndexMismatchError, RagError
from rag.index.folder import serves
from rag.private import keep_private, private_folder
from rag.serve.sources import Sources
from rag.serve.upload_room import check_room
from rag.types import Retriever

if TYPE_CHECKING:
    from rag.build.retrievers import Retrievers
    from rag.documents.collection import Ingested

OPEN_AT_ONCE = 16
KEPT_UNASKED_SECONDS = 24 * 3600
_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Indexing:
    """How files become an index and are searched, always with the encoder that serves now.

    `add` takes the files, the index folder and the folder for copies. `update` ingests the files of an index again,
    `retrievers` searches it; both take the index folder. `remove` takes the SHA-256 of a document, the index folder and
    the folder of copies.
    """

    add: Callable[[Sequence[str | Path], Path, Path], Ingested]
    update: Callable[[Path], object]
    retrievers: Callable[[Path], Retrievers]
    remove: Callable[[str, Path, Path], object] | None = None


class Attachments:
    """The files of conversations. Each conversation has a key of 32 hex digits that nobody can guess.

    `kept` gives the keys of the conversations that are kept; files of others are deleted a day after their last use.
    A `root` whose name begins with a dot is not ingested with the folder around it. The files of a conversation may
    take `max_bytes`, those of all together `max_all_bytes`.
    """

    def __init__(
        self,
        root: str | Path,
        indexing: Indexing,
        kept: Callable[[], Collection[str]] = tuple,
        max_bytes: int = 2**29,
        max_all_bytes: int = 2**32,
    ):
        self._root = Path(root)
        self._indexing = indexing
        self._kept = kept
        self._max_bytes, self._max_all_bytes = max_bytes, max_all_bytes
        self._open: OrderedDict[str, tuple[Retrievers, Sources]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: str, paths: Sequence[str | Path]) -> list[str]:
        """Add copies of files to a conversation; returns lines that say what was done.

        Raises DataError where none of them can be read, or all of them would take too much room.
        """
        return ingested_lines(self.take_in(key, paths), Path("this conversation"))[:-1]

    def take_in(self, key: str, paths: Sequence[str | Path]) -> Ingested:
        """As `add`; returns what was done."""
        folder = self._folder(key)
        private_folder(self._root)
        self.sweep()
        check_room(folder / "files", paths, self._max_bytes, "the files of a conversation")
        check_room(self._root, paths, self._max_all_bytes, "the files of all conversations")
        try:
            return self._indexing.add(paths, folder / "index", folder / "files")
        except RagError:
            # A first attempt that failed leaves nothing behind.
            if not serves(folder / "index"):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            keep_private(folder)
            self._close(key)

    def remove(self, key: str, sha256: str) -> None:
        """Take a document out of a conversation, and delete its copy. Raises DataError where it is not there."""
        folder = self._folder(key)
        if self._indexing.remove is None or not serves(folder / "index"):
            raise DataError("this conversation has no files of its own")
        try:
            self._indexing.remove(sha256, folder / "index", folder / "files")
        finally:
            keep_private(folder)
            self._close(key)

    def documents(self, key: str) -> list[Mapping]:
        """The documents of a conversation, each with its `path`; [] where it has none."""
        opened = self._opened(key)
        return [row for rows in opened[0].collections().values() for row in rows] if opened else []

    def retriever(self, key: str, kind: str) -> Retriever:
        """`hybrid`, `dense` or `bm25` over the files of a conversation. Raises DataError where it has none.

        Files that were indexed with another encoder (one was promoted since) are ingested again first.
        """
        try:
            return self._retrievers(key).get(kind)
        except IndexMismatchError:
            self._indexing.update(self._root / key / "index")
            self._close(key)
            return self._retrievers(key).get(kind)

    def sources(self, key: str) -> Sources | None:
        """Where the passages of a conversation's files are found; None where it has none."""
        opened = self._opened(key)
        return opened[1] if opened else None

    def drop(self, key: str) -> None:
        """Delete the files of a conversation and their index."""
        if _KEY.fullmatch(key):
            self._close(key)
            shutil.rmtree(self._root / key, ignore_errors=True)

    def sweep(self) -> None:
        """Delete the files of conversations that are not kept and were last used a day ago or longer."""
        old = time.time() - KEPT_UNASKED_SECONDS
        found = [path for path in self._root.glob("*") if _KEY.fullmatch(path.name) and path.stat().st_mtime < old]
        kept = self._kept() if found else ()
        for folder in found:
            if folder.name not in kept:
                self.drop(folder.name)

    def close(self) -> None:
        """Close every index that is open."""
        for key in list(self._open):
            self._close(key)

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise DataError(f"{key[:40]!r} is no key of a conversation")
        return self._root / key

    def _retrievers(self, key: str) -> Retrievers:
        opened = self._opened(key)
        if opened is None:
            raise DataError("the files of this conversation are gone; add them again")
        return opened[0]

    def _opened(self, key: str) -> tuple[Retrievers, Sources] | None:
        """The index of a conversation, opened where it is not yet; None where it has none. This counts as use."""
        if not _KEY.fullmatch(key) or not serves(self._root / key / "index"):
            return None
        with contextlib.suppress(OSError):
            os.utime(self._root / key)
        with self._lock:
            if key not in self._open:
                index = self._root / key / "index"
                retrievers = self._indexing.retrievers(index)
                self._open[key] = retrievers, Sources(index, retrievers.index.get)
            self._open.move_to_end(key)
            unused = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - OPEN_AT_ONCE)]
            opened = self._open[key]
        # Outside the lock: closing waits for a picture that is being drawn.
        for _, sources in unused:
            sources.close()
        return opened

    def _close(self, key: str) -> None:
        with self._lock:
            opened = self._open.pop(key, None)
        if opened:
            opened[1].close()
