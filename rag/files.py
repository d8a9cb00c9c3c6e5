"""Files written so that a reader, or a kill, finds the old content or the new, never half of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from rag.errors import ModelError, RunMismatchError


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside `path` and rename; text is UTF-8."""
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
    """Wait until the bytes of a file, or the names in a folder, outlive the machine's going down."""
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


def flatten(record: Mapping, prefix: str = "") -> dict:
    """Nested keys of a record joined by dots."""
    flat = {}
    for key, item in record.items():
        flat.update(flatten(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {f"{prefix}{key}": item})
    return flat


def write_json(path: Path, value: object) -> None:
    """`write_whole` of indented JSON."""
    write_whole(path, json.dumps(value, indent=2) + "\n")


def remember(record: Path, identity: Mapping, made: Path) -> None:
    """Note in `record` what `made` is made from; raises RunMismatchError where that is noted already and differs."""
    check_made(record, identity, made)
    if not record.is_file():
        write_json(record, identity)


def check_made(record: Path, identity: Mapping, made: Path) -> None:
    """Raises RunMismatchError where `record` notes that `made` is made from something else."""
    if not record.is_file():
        return
    stored, identity = json.loads(record.read_text(encoding="utf-8")), json.loads(json.dumps(identity))
    if differing := sorted(key for key in stored.keys() | identity.keys() if stored.get(key) != identity.get(key)):
        raise RunMismatchError(
            f"{made} was made otherwise (differing: {', '.join(differing)}); choose another -o, or delete it"
        )


def read_json_object(path: Path) -> dict:
    """A model's JSON file, {} where it is not there; raises ModelError where it is no JSON object."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error})") from error
    if not isinstance(stored, dict):
        raise ModelError(f"{path} is damaged (it holds no JSON object)")
    return stored


def read_jsonl(path: Path) -> list[dict]:
    """The whole lines of a file; a torn last line, left by a kill, is not there yet."""
    return [row for _, row in _whole_lines(path)]


def _whole_lines(path: Path) -> Iterator[tuple[int, dict]]:
    """(offset behind the line, row) of every whole line."""
    if not path.is_file():
        return
    offset = 0
    with path.open("rb") as stream:
        for raw in stream:
            if not raw.endswith(b"\n"):
                return
            try:
                row = json.loads(raw)
            except ValueError:
                return  # zeros that a crash of the machine left
            offset += len(raw)
            yield offset, row


def resume_jsonl(path: Path, key: str = "qid") -> set[str]:
    """The ids already there; whatever follows the last whole line is cut off."""
    done, end = set(), 0
    for behind, row in _whole_lines(path):
        done.add(row[key])
        end = behind
    if path.is_file() and path.stat().st_size != end:
        os.truncate(path, end)
    return done


def json_line(row: Mapping) -> bytes:
    """One line of JSON lines, as bytes."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can carry
        return json.dumps(row).encode() + b"\n"
