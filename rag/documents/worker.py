"""Parsing in a process of its own: a file that hangs, eats memory or crashes the parser costs that file alone."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from rag.documents.document import Document
from rag.documents.pages import PageImage, render_page
from rag.documents.parse import parse_file
from rag.errors import UnreadableFile

SECONDS_A_FILE = 120.0
MEMORY_BYTES = 4 * 2**30
_ALIVE = ("alive",)  # sent before each scanned page: it has the time of a file for itself


class ParserProcess:
    """Parses one file at a time in another process, which is started again where a file brought it down."""

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

    def _call(self, *request: object) -> Any:
        connection = self._connection
        if connection is None or self._process is None or self._process.poll() is not None:
            connection = self._start()
        try:
            connection.send(request)
            result: Any = _ALIVE
            while result == _ALIVE:
                if not connection.poll(self._seconds):
                    raise UnreadableFile(f"took longer than {self._seconds:g} s")
                result = connection.recv()
                self.on_page()
        except (EOFError, OSError) as error:
            self.close()
            raise UnreadableFile("crashed the parser") from error
        except UnreadableFile:
            self.close()
            raise
        if isinstance(result, str):
            raise UnreadableFile(result)
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
    known: dict[str, Callable[..., Document | PageImage]] = {
        "parse": functools.partial(parse_file, alive=lambda: connection.send(_ALIVE)),
        "render": render_page,
    }
    while True:
        try:
            what, *arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            result: Document | PageImage | str = known[what](*arguments)
        except UnreadableFile as error:
            result = str(error)
        except (MemoryError, RecursionError) as error:
            result = f"too deep or too large ({type(error).__name__})"
        connection.send(result)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
