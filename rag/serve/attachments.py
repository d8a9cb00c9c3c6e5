"""Files that one conversation alone answers from: an index of their own beside the index of everybody.

ROOT/KEY/files/   what was added to the conversation KEY
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
from pathlib import Path

from rag.build.indexes import add_files, ingest_documents
from rag.build.retrievers import Retrievers
from rag.config import Settings
from rag.documents.ingested_lines import ingested_lines
from rag.errors import DataError, IndexMismatchError, RagError
from rag.index.folder import serves
from rag.lazy import Lazy
from rag.retrieve.encoder import Encoder
from rag.serve.source_pages import Sources
from rag.types import Retriever

OPEN_AT_ONCE = 16
KEPT_UNASKED_SECONDS = 24 * 3600
_KEY = re.compile(r"[0-9a-f]{32}")


class Attachments:
    """The files of conversations, each conversation's under a key of 32 hex digits that nobody can guess.

    `encoder` gives the one that everything else is searched with. `kept` gives the keys of conversations that are
    kept; the files of others are deleted a day after they were last used. `root` is hidden from `rag ingest` where its
    name begins with a dot.
    """

    def __init__(
        self,
        settings: Settings,
        root: str | Path,
        encoder: Callable[[], Encoder],
        kept: Callable[[], Collection[str]] = tuple,
    ):
        # A handful of passages is too few for the cells of a large index.
        flat = settings.index.model_copy(update={"factory": "Flat"})
        self._settings, self._root = settings.model_copy(update={"index": flat}), Path(root)
        self._encoder, self._kept = encoder, kept
        self._open: OrderedDict[str, tuple[Retrievers, Sources]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: str, paths: Sequence[str | Path]) -> list[str]:
        """Take copies of files in; returns what came of it, line by line.

        Raises DataError where none of them can be read.
        """
        folder = self._folder(key)
        self.sweep()
        try:
            result = add_files(self._settings, paths, folder / "index", folder / "files", encoder=self._encoder())
            return ingested_lines(result, Path("this conversation"))[:-1]
        except RagError:
            if not serves(folder / "index"):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._close(key)

    def documents(self, key: str) -> list[Mapping]:
        """The documents of a conversation, each with its `path`; [] where it has none."""
        opened = self._opened(key)
        return [row for rows in opened[0].collections().values() for row in rows] if opened else []

    def retriever(self, key: str, kind: str) -> Retriever:
        """`hybrid`, `dense` or `bm25` over the files of a conversation. Raises DataError where it has none.

        Files that another encoder indexed, before a promotion say, are taken in again.
        """
        for last in (False, True):
            opened = self._opened(key)
            if opened is None:
                raise DataError("the files of this conversation are gone; add them again")
            try:
                return opened[0].get(kind)
            except IndexMismatchError:
                if last:
                    raise
                ingest_documents(self._settings, [], self._root / key / "index", encoder=self._encoder())
                self._close(key)
        raise AssertionError

    def sources(self, key: str) -> Sources | None:
        """Where the passages of a conversation's files are found."""
        opened = self._opened(key)
        return opened[1] if opened else None

    def drop(self, key: str) -> None:
        """Delete the files of a conversation and their index."""
        if _KEY.fullmatch(key):
            self._close(key)
            shutil.rmtree(self._root / key, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what was last used a day ago or longer by conversations that nobody kept."""
        old = time.time() - KEPT_UNASKED_SECONDS
        found = [path for path in self._root.glob("*") if _KEY.fullmatch(path.name) and path.stat().st_mtime < old]
        kept = self._kept() if found else ()
        for folder in found:
            if folder.name not in kept:
                self.drop(folder.name)

    def close(self) -> None:
        for key in list(self._open):
            self._close(key)

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise DataError(f"{key[:40]!r} is no key of a conversation")
        return self._root / key

    def _opened(self, key: str) -> tuple[Retrievers, Sources] | None:
        if not _KEY.fullmatch(key) or not serves(self._root / key / "index"):
            return None
        with contextlib.suppress(OSError):
            os.utime(self._root / key)
        with self._lock:
            if key not in self._open:
                index = self._root / key / "index"
                retrievers = Retrievers(self._settings, index, Lazy(self._encoder))
                self._open[key] = retrievers, Sources(index, retrievers.index.get)
            self._open.move_to_end(key)
            unused = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - OPEN_AT_ONCE)]
            opened = self._open[key]
        for _, sources in unused:
            sources.close()
        return opened

    def _close(self, key: str) -> None:
        with self._lock:
            opened = self._open.pop(key, None)
        if opened:
            opened[1].close()
