"""Files written so that a reader, or a kill, finds the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from rag.errors import DataError, ModelError, RagError

LOCK = ".lock"
SEAL = "sha256"
"""The key under which a JSON object keeps a hash of all its other keys."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a kill, finds the old content or the new: beside it, then renamed.

    Raises OSError, which names `path`, where that cannot be done; then the old content stays.
    """
    temporary = path.with_name(path.name + ".tmp")
    with _naming(path, temporary):
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
        os.replace(temporary, path)


def write_durably(path: Path, content: str) -> None:
    """`write_whole`, and wait until it is on the disk."""
    temporary = path.with_name(path.name + ".tmp")
    with _naming(path, temporary):
        temporary.write_text(content, encoding="utf-8")
        wait_for_disk(temporary)
        os.replace(temporary, path)
    wait_for_disk(path.parent)


@contextlib.contextmanager
def room_for(folder: Path, state: str) -> Iterator[None]:
    """Raises DataError where what is written inside finds no room on its disk; `state` says what is left then."""
    try:
        yield
    except OSError as error:
        if not finds_no_room(error):
            raise
        raise DataError(no_room(str(error.filename or folder), error, state)) from error


def finds_no_room(error: OSError) -> bool:
    """Whether something could not be written because of a full disk, or of a limit on files."""
    # NumPy says only how much of an array was written.
    return error.errno in _NO_ROOM or (error.errno is None and str(error).endswith(" written"))


def no_room(what: str, error: OSError, state: str) -> str:
    """The sentence about a file or folder for which there is no room."""
    why = error.strerror or os.strerror(errno.ENOSPC)
    return f"{what} could not be written ({why}); {state}: make room, and run the same command again"


def is_read_only(error: OSError) -> bool:
    """Whether something could not be written because nobody, or not this user, may write there."""
    return error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def kept_where_possible() -> Iterator[None]:
    """Inside, something is kept to save time: where nothing can be written, it is made again the next time."""
    try:
        yield
    except OSError as error:
        if not is_read_only(error):
            raise


@contextlib.contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """What fails inside names `path`, as a full disk does not, and leaves no half file that takes up its room."""
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def clear(path: Path) -> None:
    """Delete whatever stands where a file of ours belongs; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_own_folder(path: Path) -> None:
    """Make a folder of ours; a file or a link that stands in its place is deleted."""
    if not path.is_dir() or path.is_symlink():
        clear(path)
    path.mkdir(parents=True, exist_ok=True)


def wait_for_disk(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_sha256(folder: Path) -> str:
    """A hash over the weight files of a checkpoint, in name order; raises ModelError where it has none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin") and p.is_file())
    if not files:
        raise ModelError(f"{folder} holds no weights (*.safetensors)")
    digest = hashlib.sha256()
    for file in files:
        digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()


def write_json(path: Path, value: object) -> None:
    """`write_whole` of indented JSON."""
    write_whole(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path, error: type[RagError], *, fix: str = "", default: dict | None = None) -> dict:
    """The JSON object of a file; `default` where nothing is there.

    Raises `error` where nothing is there and there is no default, or where it is damaged: not readable, no JSON, or no
    object. `fix` says what a person can do about it.
    """
    if default is not None and not path.exists():
        return default
    then = f"; {fix}" if fix else ""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path} is missing{then}") from None
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror or reason}){then}") from reason
    except (ValueError, RecursionError) as reason:
        raise error(f"{path} is damaged ({reason}){then}") from reason
    if not isinstance(stored, dict):
        raise error(f"{path} is damaged (it holds no JSON object){then}")
    return stored


def sealed(value: Mapping) -> dict:
    """A JSON object with a hash of itself under `SEAL`, by which damage to its file is found (`is_unbroken`)."""
    content = {key: entry for key, entry in value.items() if key != SEAL}
    return {**content, SEAL: _content_sha256(content)}


def is_unbroken(stored: Mapping) -> bool:
    """Whether an object holds what it was sealed with; so does one that was never sealed."""
    content = {key: entry for key, entry in stored.items() if key != SEAL}
    return SEAL not in stored or stored[SEAL] == _content_sha256(content)


def _content_sha256(content: Mapping) -> str:
    # Through JSON and back: a tuple equals the list of its items, and a key is a text.
    same = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def json_if_sound(path: Path) -> dict | None:
    """The JSON object of a file that can be made again: None where it is not there, or damaged."""
    with contextlib.suppress(DataError):
        return read_json(path, DataError)
    return None


@contextlib.contextmanager
def only_writer(folder: Path, error: type[RagError], *, patience_seconds: float = 0.0) -> Iterator[None]:
    """Be the one process that writes a folder, which exists; raises `error`, naming the other process, otherwise.

    `patience_seconds` are waited for the other process first.
    """
    lock = FileLock(folder / LOCK)
    holder = folder / ".lock-holder"  # the lock itself does not say whose it is
    try:
        lock.acquire(timeout=patience_seconds)
    except Timeout:
        process = "another process"
        with contextlib.suppress(OSError, ValueError):
            process = f"process {int(holder.read_text(encoding='utf-8'))}"
        raise error(f"{process} is writing {folder}; wait until it has finished") from None
    try:
        with contextlib.suppress(OSError):  # it is a help to people, and nothing depends on it
            holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def json_line(row: Mapping) -> bytes:
    """One line of JSON lines, as bytes."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can carry
        return json.dumps(row).encode() + b"\n"
