"""Files on their way: what browsers send lies in a folder of its own until it is added, within limits.

    ROOT/PERSON/UPLOAD/1/NAME

Gradio's own route takes any number of bytes, keeps them for ever, and shares its folder with every program that uses
Gradio.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from fastapi import Request
from gradio.route_utils import GradioMultiPartParser
from gradio_client.utils import strip_invalid_filename_characters  # type: ignore[import-untyped]
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException

from rag.errors import DataError
from rag.serve.limits import Refused, size_words

KEPT_SECONDS = 3 * 3600.0
FILES_AT_ONCE = 1000
UPLOADS_AT_ONCE = 4
SHARES = 4
"""All people together may have this many times as much on its way as one."""


@functools.cache
def uploads_root() -> Path:
    """The folder of this process for files on their way, readable by this account alone, deleted at its end.

    Gradio reads files from the folder that GRADIO_TEMP_DIR names alone, which is this one from now on.
    """
    root = Path(tempfile.mkdtemp(prefix="rag-uploads-", dir=os.environ.get("GRADIO_TEMP_DIR"))).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


class UploadRoom:
    """Room for files on their way: `max_bytes` for one upload and for each person, `max_file_bytes` for one file."""

    def __init__(self, root: Path, max_bytes: int, max_file_bytes: int):
        self.root, self.max_bytes = root, max_bytes
        self._max_file_bytes = max_file_bytes
        self._coming: Counter[str] = Counter()
        self._uploads = 0

    @contextlib.contextmanager
    def _place(self, person: str, n_bytes: int) -> Iterator[Path]:
        """A new folder for an upload that may hold so many bytes; deleted where it fails. Raises Refused."""
        self.sweep()
        own = self.root / hashlib.sha256(person.encode()).hexdigest()[:16]
        is_full = size_of(own) + self._coming[person] + n_bytes > self.max_bytes
        if is_full or size_of(self.root) + self._coming.total() + n_bytes > SHARES * self.max_bytes:
            raise Refused(413, f"more than {size_words(self.max_bytes)} would be on their way; try again in a while")
        if self._uploads >= UPLOADS_AT_ONCE:
            raise Refused(503, "other files are arriving; try again in a moment", wait_seconds=5)
        folder = own / uuid.uuid4().hex
        folder.mkdir(parents=True, mode=0o700)
        self._uploads += 1
        self._coming[person] += n_bytes
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._uploads -= 1
            self._coming[person] -= n_bytes

    async def take(self, request: Request, person: str, n_bytes: int) -> list[str]:
        """Store the files of a request, in its order; returns their paths.

        Raises Refused where there is no room, and MultiPartException where the body is no form or larger than said.
        """
        with self._place(person, n_bytes) as folder:
            parser = _FilesAlone(
                request.headers,
                _at_most(request, n_bytes),  # type: ignore[arg-type]
                max_files=FILES_AT_ONCE,
                upload_dir=folder,
                max_file_size=self._max_file_bytes,
            )
            try:
                form = await parser.parse()
            finally:
                parser.close()
            files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
            return await run_in_threadpool(_named, files, folder)

    def sweep(self) -> None:
        """Delete what has lain here for long: nobody has added it, and nobody will."""
        old = time.time() - KEPT_SECONDS
        for path in [*self.root.glob("*/*"), *self.root.glob("tmp*")]:
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < old:
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()

    def drop(self, paths: Sequence[str]) -> None:
        """Delete files that were added by now."""
        for path in paths:
            if is_within(path, self.root):
                Path(path).unlink(missing_ok=True)


class _FilesAlone(GradioMultiPartParser):
    """Gradio's reader of forms, for files alone: it would hold any other field in memory, however large."""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            raise MultiPartException("only files are taken")
        super().on_part_data(data, start, end)

    def close(self) -> None:
        """Close the files, whatever became of them."""
        for file in self._files_to_close_on_error:
            file.close()


async def _at_most(request: Request, n_bytes: int) -> AsyncIterator[bytes]:
    """The body of a request, as long as it is no longer than so many bytes."""
    n_read = 0
    async for chunk in request.stream():
        n_read += len(chunk)
        if n_read > n_bytes:
            raise MultiPartException(f"the upload exceeds the maximum allowed size of {size_words(n_bytes)}")
        yield chunk


def _named(files: Sequence[UploadFile], folder: Path) -> list[str]:
    """Give stored files the names that they were sent with, each in a folder of its own; returns the paths."""
    paths = []
    for number, file in enumerate(files, 1):
        name = strip_invalid_filename_characters(Path(file.filename or "").name)
        if name.strip(". ") == "":
            name = "file"
        path = folder / str(number) / name
        path.parent.mkdir()
        os.rename(file.file.name, path)
        paths.append(str(path))
    return paths


def is_within(path: object, folder: Path) -> bool:
    """Whether something is the path of a file inside a folder, with links followed."""
    if not isinstance(path, str) or "\0" in path:
        return False
    try:
        return Path(path).is_absolute() and Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder; 0 where there is none."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def check_room(folder: Path, paths: Sequence[str | Path], max_bytes: int, what: str) -> None:
    """Raise DataError where a folder of added files would grow beyond `max_bytes`; `what` names it."""
    coming = 0
    for path in paths:
        with contextlib.suppress(OSError):
            coming += os.stat(path).st_size
    if coming and size_of(folder) + coming > max_bytes:
        raise DataError(f"{what} may take {size_words(max_bytes)}, and these files would exceed it")


def content_type(headers: Headers) -> str:
    """The media type of a body, in lower case, without its parameters."""
    return headers.get("content-type", "").split(";", 1)[0].strip().lower()
