"""Files written so that a reader, or a kill, finds the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from rag.errors import DataError, ModelError, RagError

LOCK = ".lock"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a kill, finds the old content or the new: beside it, then renamed."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.replace(temporary, path)


def write_durably(path: Path, content: str) -> None:
    """`write_whole`, and wait until it is on the disk."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(content, encoding="utf-8")
    wait_for_disk(temporary)
    os.replace(temporary, path)
    wait_for_disk(path.parent)


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
    """The JSON object of a file; `default` where the file is not there.

    Raises `error` where it is not there and there is no default, or where it is damaged: not readable, no JSON, or no
    object. `fix` says what a person can do about it.
    """
    if default is not None and not path.is_file():
        return default
    then = f"; {fix}" if fix else ""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path} is missing{then}") from None
    except (OSError, ValueError) as reason:
        raise error(f"{path} is damaged ({reason}){then}") from reason
    if not isinstance(stored, dict):
        raise error(f"{path} is damaged (it holds no JSON object){then}")
    return stored


def json_if_sound(path: Path) -> dict | None:
    """The JSON object of a file that can be made again: None where it is not there, or damaged."""
    with contextlib.suppress(DataError):
        return read_json(path, DataError)
    return None


@contextlib.contextmanager
def only_writer(folder: Path, error: type[RagError]) -> Iterator[None]:
    """Be the one process that writes a folder, which exists; raises `error`, naming the other process, otherwise."""
    lock = FileLock(folder / LOCK)
    holder = folder / ".lock-holder"  # the lock itself does not say whose it is
    try:
        lock.acquire(timeout=0)
    except Timeout:
        process = "another process"
        with contextlib.suppress(OSError):
            process = f"process {holder.read_text(encoding='utf-8').strip()}"
        raise error(f"{process} is writing {folder}; wait until it has finished") from None
    try:
        holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def json_line(row: Mapping) -> bytes:
    """One line of JSON lines, as bytes."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can carry
        return json.dumps(row).encode() + b"\n"
