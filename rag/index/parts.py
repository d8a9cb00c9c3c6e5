"""The parts of a generation, and how damage to one of them is found.

The manifest holds the size and the SHA-256 of every part. A part is held against both before it is loaded. So no
damaged vector changes an answer, and no damaged file reaches the libraries that would follow it anywhere. The hash of a
file that has not changed since it was taken is remembered (`rag.index.checked`); `rag doctor` and `rag rollback` take
it anew. Generations that an earlier version made have no hashes; the next build or ingest adds them.

Documents and sources of a generation that serves are written anew where only paths have changed. The manifest then
names both states first, and the new one alone last: a kill at any moment leaves a generation that is whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rag import fixes
from rag.errors import DataError, IndexMismatchError
from rag.files import file_sha256, is_unbroken, read_json, sealed, write_json, write_whole
from rag.index.checked import sha256_checked
from rag.index.manifest import MANIFEST, PARTS, REPLACED, Manifest, manifest_json

PASSAGES = "passages.jsonl"
TABLE = "passages.npy"
VECTORS = "vectors.faiss"
WINDOWS = "windows.npy"
BM25 = "bm25"
DOCUMENTS = "documents.jsonl"
SOURCES = "sources.json"
SEGMENTS = "segments.json"
PLACES = "places.npy"
QUESTIONS = "questions.jsonl"
NAMES = (PASSAGES, TABLE, VECTORS, WINDOWS, BM25, DOCUMENTS, SOURCES, SEGMENTS, PLACES, QUESTIONS)
"""What a generation may hold; one in segments holds more passages, vectors and BM25, each with a number."""
_OF_SEGMENT = re.compile(r"passages-[0-9]+\.jsonl|vectors-[0-9]+\.faiss|bm25-[0-9]+")


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a generation as it was written: its size in bytes, and the SHA-256 of them."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a manifest names, by their path below the generation.

    `replaced` are what stands there until the part of that name has taken its place. Both are empty for a generation
    from before parts were hashed.
    """

    named: Mapping[str, Part] = field(default_factory=dict)
    replaced: Mapping[str, Part] = field(default_factory=dict)

    def allowed(self, name: str) -> list[Part]:
        """What the file of this name may hold; empty where nothing is known of it."""
        return [parts[name] for parts in (self.named, self.replaced) if name in parts]


def read_parts(generation: Path) -> Parts:
    """The parts that the manifest names. Raises IndexMismatchError where it is damaged."""
    path = generation / MANIFEST
    fix = fixes.make_index(generation.parent)
    try:
        stored = read_json(path, DataError)
        if not is_unbroken(stored):
            raise DataError(f"{path} is damaged (its bytes are not those that were written)")
        return Parts(*({name: _part(part) for name, part in stored.get(key, {}).items()} for key in (PARTS, REPLACED)))
    except DataError as error:
        raise IndexMismatchError(str(error), fix) from error
    except (TypeError, KeyError, AttributeError) as error:
        raise IndexMismatchError(f"{path} is damaged (what it says of the parts is not readable)", fix) from error


def _part(stored: Mapping) -> Part:
    size, sha256 = stored["size"], stored["sha256"]
    if type(size) is not int or not isinstance(sha256, str):
        raise TypeError("a size that is no number, or a hash that is no text")
    return Part(size, sha256)


def write_manifest(generation: Path, manifest: Manifest, parts: Parts) -> None:
    """Write the manifest of a generation, with its parts and a hash of itself."""
    stored = manifest_json(manifest)
    for key, named in ((PARTS, parts.named), (REPLACED, parts.replaced)):
        if named:
            stored[key] = {name: dataclasses.asdict(part) for name, part in named.items()}
    write_json(generation / MANIFEST, sealed(stored))


def parts_of(generation: Path, but: Collection[str] = ()) -> Parts:
    """The parts of a generation as they are on the disk now, without those that are known."""
    tops = sorted(path.name for path in generation.iterdir() if path.name in NAMES or _OF_SEGMENT.fullmatch(path.name))
    files = (path for name in tops for path in sorted(_files_of(generation / name)))
    names = {path.relative_to(generation).as_posix(): path for path in files}
    return Parts({name: part_of(path) for name, path in names.items() if name not in but})


def _files_of(path: Path) -> Iterable[Path]:
    return path.iterdir() if path.is_dir() else [path] if path.is_file() else []


def part_of(path: Path) -> Part:
    """A file as it is on the disk now. Raises OSError where it cannot be read."""
    return Part(path.stat().st_size, file_sha256(path))


def part_of_bytes(content: bytes) -> Part:
    """What a file of this content would be."""
    return Part(len(content), hashlib.sha256(content).hexdigest())


def damage_to(generation: Path, name: str, *, anew: bool = True) -> str:
    """What is wrong with a part, or with the files of the folder of that name; "" for nothing that can be seen.

    Of all parts where `name` is empty.

    `anew` takes the hash of every file; otherwise that of one that has not changed since is remembered. Raises
    IndexMismatchError where the manifest is damaged.
    """
    keeps = None if anew else generation
    while True:
        parts = read_parts(generation)
        names = [other for other in parts.named if name in ("", other) or other.startswith(f"{name}/")]
        damage = next(
            (found for other in names if (found := _damage(generation / other, parts.allowed(other), keeps))), ""
        )
        if not damage or read_parts(generation) == parts:
            return damage
        # The part was replaced while it was looked at.


def damage_to_any(generation: Path) -> str:
    """What is wrong with the first part that is damaged; "" for none. Raises as `damage_to` does."""
    return next((damage for name in read_parts(generation).named if (damage := damage_to(generation, name))), "")


def check_part(generation: Path, name: str, fix: str, *, anew: bool = False) -> None:
    """Raises IndexMismatchError, with the command that makes it again, where a part is not as the manifest says."""
    if damage := damage_to(generation, name, anew=anew):
        raise IndexMismatchError(damage, fix)


def _damage(path: Path, allowed: Iterable[Part], keeps: Path | None) -> str:
    """How a file differs from all that it may hold; `keeps` is the generation that remembers hashes, if it may."""
    allowed = list(allowed)
    try:
        if path.is_dir():
            why = "a folder stands in its place"
        elif (size := path.stat().st_size) not in [part.size for part in allowed]:
            why = f"it has {size:,} bytes, not {allowed[0].size:,}"
        elif _part_now(path, keeps) not in allowed:
            why = "its bytes are not those that were written"
        else:
            return ""
    except FileNotFoundError:
        why = "it is not there"
    except OSError as error:
        why = f"it cannot be read: {error.strerror or error}"
    return f"{path} is missing or damaged ({why})"


def _part_now(path: Path, keeps: Path | None) -> Part:
    return part_of(path) if keeps is None else Part(path.stat().st_size, sha256_checked(keeps, path, file_sha256))


def has_hashes(generation: Path) -> bool:
    """Whether the parts of a generation were hashed when it was made. Raises as `read_parts` does."""
    return bool(read_parts(generation).named)


def replace_files(generation: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Let parts of a whole generation hold other bytes; nobody who reads meanwhile takes them for damaged."""
    files = {name: generation / name for name in contents}
    parts = read_parts(generation)
    wanted = {name: part_of_bytes(content) for name, content in contents.items()}
    there = {name: part_of(path) for name, path in files.items() if path.is_file()}
    named = {**parts.named, **wanted} if parts.named else {}
    if there == wanted and parts == Parts(named):
        return
    # What is there may be damaged, and is then replaced by what is sound: only a sound state is allowed meanwhile.
    replaced = {name: part for name, part in there.items() if part in parts.allowed(name)}
    if named:
        write_manifest(generation, manifest, Parts(named, replaced))
    for name, content in contents.items():
        if there.get(name) != wanted[name]:
            write_whole(files[name], content)
    if named:
        write_manifest(generation, manifest, Parts(named))
