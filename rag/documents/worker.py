"""Reading and splitting in a process of its own: a file that hangs, eats memory or crashes it costs that file alone."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from rag.documents.chunk import ChunkSettings, CountTokens
from rag.documents.document import Document
from rag.documents.pages import PageImage, render_page
from rag.documents.parse import parse_file
from rag.documents.parsed import ParsedDocuments
from rag.documents.split import SplitDocument, split_stored
from rag.documents.web.links import links_of, sitemap_links
from rag.errors import UnreadableFile
from rag.terminal import guarded

SECONDS_A_FILE = 120.0
MEMORY_BYTES = 4 * 2**30
_ALIVE = ("alive",)  # sent before each scanned page: it has the time of a file for itself
_COUNT = "count"  # (_COUNT, texts) asks for the tokens of texts: the tokenizer stays in the main process


class ParserProcess:
    """Parses and splits one file at a time in another process, which is started again where a file brought it down."""

    def __init__(self, *, seconds: float = SECONDS_A_FILE, memory_bytes: int = MEMORY_BYTES, ocr_languages: str = ""):
        self.on_page: Callable[[], None] = lambda: None
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._ocr_languages = ocr_languages
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None

    def parse(self, path: str | Path, sha256: str = "") -> Document:
        """The document in a file. Raises UnreadableFile, also for one that takes too long or crashes the parser.

        With `sha256` the file must still hold what was hashed. Each scanned page has the time of a file.
        """
        return self._call("parse", str(path), sha256, self._ocr_languages, 0.8 * self._seconds)

    def render(self, path: str | Path, sha256: str, number: int, text: str) -> PageImage:
        """A page of a PDF as a picture (see `render_page`); raises as `parse` does."""
        return self._call("render", str(path), sha256, number, text)

    def split(
        self, store: ParsedDocuments, sha256: str, settings: ChunkSettings, count_tokens: CountTokens
    ) -> SplitDocument | None:
        """Split a document of the store; None where the store lacks it. Raises as `parse` does.

        `count_tokens` is called in this process, for a part of the text at a time, which is not counted as the time of
        the file: it grows with the text and nothing else.
        """
        where = (str(store.index_folder), store.parser_version, sha256)
        return self._call("split", *where, settings, count_tokens=count_tokens)

    def links(self, html_bytes: bytes, base: str) -> list[str]:
        """Where a page leads (see `links_of`); raises as `parse` does."""
        return self._call("links", html_bytes, base)

    def sitemap_links(self, body: bytes, base: str) -> tuple[list[str], list[str]]:
        """What a sitemap names (see `sitemap_links`); raises as `parse` does."""
        return self._call("sitemap_links", body, base)

    def _call(self, *request: object, count_tokens: CountTokens | None = None) -> Any:
        connection = self._connection
        if connection is None or self._process is None or self._process.poll() is not None:
            connection = self._start()
        try:
            connection.send(request)
            result = self._answer(connection, count_tokens)
        except (EOFError, OSError) as error:
            self.close()
            raise UnreadableFile("crashed the parser") from error
        except BaseException:  # whatever it was, the process is in the middle of something
            self.close()
            raise
        if isinstance(result, str):
            raise UnreadableFile(result)
        return result

    def _answer(self, connection: Connection, count_tokens: CountTokens | None) -> Any:
        """What the process answers in the end; until then it asks for tokens, or says that it is at another page."""
        seconds_left = self._seconds
        while True:
            asked = time.monotonic()
            if not connection.poll(max(seconds_left, 0.0)):
                raise UnreadableFile(f"took longer than {self._seconds:g} s")
            result = connection.recv()
            seconds_left -= time.monotonic() - asked
            self.on_page()
            if isinstance(result, tuple) and result[0] == _COUNT and count_tokens is not None:
                connection.send(count_tokens(result[1]))
            elif result == _ALIVE:
                seconds_left = self._seconds
            else:
                return result

    def close(self) -> None:
        """Stop the process, in the middle of a file if need be."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what it started too
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = None
        self._connection = None

    def _start(self) -> Connection:
        # Not multiprocessing's own start, which would import the main module once more, whatever that does.
        self._connection, theirs = Pipe()
        # -P: modules are not looked for in the current folder, which may be the one with the documents.
        arguments = [sys.executable, "-P", "-m", "rag.documents.worker", str(theirs.fileno()), str(self._memory_bytes)]
        self._process = subprocess.Popen(
            arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        return self._connection


def _serve(connection: Connection, memory_bytes: int) -> None:
    """Answer requests until the other end closes: with what was made, or with the reason as text."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    def count_tokens(texts: Sequence[str]) -> list[int]:
        connection.send((_COUNT, list(texts)))
        return connection.recv()

    known: dict[str, Callable[..., Any]] = {
        "parse": functools.partial(parse_file, alive=lambda: connection.send(_ALIVE)),
        "render": render_page,
        "split": functools.partial(split_stored, count_tokens=count_tokens),
        "links": links_of,
        "sitemap_links": sitemap_links,
    }
    while True:
        try:
            what, *arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            result = known[what](*arguments)
        except UnreadableFile as error:
            result = str(error)
        except (MemoryError, RecursionError) as error:
            result = f"too deep or too large ({type(error).__name__})"
        connection.send(result)


if __name__ == "__main__":
    with guarded():
        _serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
