"""Which generation of an index folder serves, how another takes its place, and who may write.

The pointer CURRENT names the generation that serves. That folder is not touched while another is made beside it; one
atomic write of CURRENT then switches all readers at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rag import fixes
from rag.errors import DataError, IndexBusyError, IndexMismatchError
from rag.files import LOCK, clear, only_writer, wait_for_disk, write_durably
from rag.index.manifest import (
    MANIFEST,
    Manifest,
    check_source,
    read_if_sound,
    read_manifest,
    source_is_there,
    source_sha256,
)
from rag.index.parts import damage_to_any, read_parts, write_manifest
from rag.store.note import NOTE, has_note

CURRENT = "CURRENT"
PREVIOUS = "PREVIOUS"
BUILDING = "building"

GENERATION = "generation-"
TWIN = "-b"  # ends the other name of a generation


def read_pointer(folder: Path, pointer: str) -> Path | None:
    """The generation that CURRENT or PREVIOUS names; None where it names none that is there."""
    try:
        name = (folder / pointer).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError):  # ValueError: its bytes are no text
        return None
    # A damaged pointer leads nowhere else.
    is_name = name.startswith(GENERATION) and name.isprintable() and Path(name).name == name
    return folder / name if is_name and (folder / name).is_dir() else None


def read_current(folder: Path) -> Path | None:
    """The generation that serves, sound or not. Raises IndexMismatchError for one in a store that does not answer."""
    if has_note(folder):
        from rag.index.stored import stored_generation

        return stored_generation(folder)
    return read_pointer(folder, CURRENT)


def serves(folder: str | Path) -> bool:
    """Whether a generation serves, sound or not; a store is not asked."""
    return has_note(folder) or read_current(Path(folder)) is not None


def current_generation(folder: str | Path) -> tuple[Path, Manifest]:
    """The folder and manifest of the generation that serves, though its corpus file may have changed since.

    Raises IndexMismatchError, with the command that fixes it, for a missing index or a damaged manifest.
    """
    folder = Path(folder)
    current = read_current(folder)
    if current is None:
        if lost := _lost_generation(folder):
            raise IndexMismatchError(
                f"{folder / CURRENT} is missing or damaged: it names no generation that is there",
                fixes.roll_back(folder),
                to=f"let {lost.name} serve",
            )
        hint = " (an unfinished build is there: run the same command again)" if (folder / BUILDING).exists() else ""
        raise IndexMismatchError(f"{folder} holds no index{hint}", fixes.make_index(folder), to="make one")
    return current, read_manifest(current)


def serving_manifest(folder: str | Path) -> tuple[Path, Manifest]:
    """The folder and manifest of the generation that serves, without loading anything else.

    Raises IndexMismatchError as `current_generation` does, and for a corpus file that has changed since.
    """
    current, manifest = current_generation(folder)
    check_source(manifest, Path(folder), keeps=current)
    return current, manifest


def _lost_generation(folder: Path) -> Path | None:
    """The generation that seems to have served, where CURRENT names none: the newest but the one before it."""
    found = [(manifest.created, path) for path in folder.glob(f"{GENERATION}*") if (manifest := read_if_sound(path))]
    newest_first = [path for _, path in sorted(found, reverse=True)]
    before = read_pointer(folder, PREVIOUS)
    others = [path for path in newest_first if before is None or _state(path) != _state(before)]
    return next(iter(others or newest_first), None)


def known_generation(folder: str | Path) -> Path | None:
    """The generation that serves, sound or not; where CURRENT is lost, the one that seems to have served."""
    return read_current(Path(folder)) or _lost_generation(Path(folder))


def is_index(folder: Path) -> bool:
    """Whether a folder holds a generation of an index; the other names in it could be anyone's."""
    return has_note(folder) or (folder / CURRENT).is_file() or any(folder.glob(f"{GENERATION}*/{MANIFEST}"))


def _is_begun(folder: Path) -> bool:
    """Whether an index was begun in a folder, though no generation of it need be there."""
    return any((folder / name).exists() for name in (CURRENT, BUILDING, LOCK, NOTE))


@contextlib.contextmanager
def writer_lock(folder: str | Path) -> Iterator[None]:
    """Be the one process that changes an index; the folder is made where there is none.

    Raises DataError for a folder with other things in it, IndexBusyError where another process holds the lock.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name a folder for the index")
    if folder.is_dir() and any(folder.iterdir()) and not _is_begun(folder):
        raise DataError(f"{folder} holds other files and is no index; name a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder, IndexBusyError):
        yield


def roll_back(folder: str | Path) -> Manifest:
    """Let the generation before the present one serve again; a second call goes forward again.

    It serves even if its corpus file has changed since, until the file changes once more. Where CURRENT names none that
    is there, the one that seems to have served does. Raises IndexMismatchError where there is none to go to, or a part
    of it is damaged.
    """
    folder = Path(folder)
    if not _is_begun(folder):
        raise IndexMismatchError(f"{folder} holds no index", fixes.make_index(folder), to="make one")
    with writer_lock(folder):
        if has_note(folder):
            from rag.index.stored import roll_back_stored

            return roll_back_stored(folder)
        current = read_current(folder)
        previous = _before(folder, current)
        if previous is None:
            raise IndexMismatchError(f"{folder} holds no generation to go back to")
        manifest = read_manifest(previous)
        if damage := damage_to_any(previous):
            raise IndexMismatchError(
                f"{damage}, so there is nothing to go back to; the index stays as it was",
                fixes.remake(folder, manifest.corpus_path),
                to="make it again",
            )
        if source_is_there(manifest):
            # Whoever goes back knows that the file holds other passages: its present state is taken as seen.
            seen = dataclasses.replace(manifest, corpus_file_sha256=source_sha256(manifest.corpus_path))
            manifest = touch_source(previous, manifest, seen)
        serve_generation(folder, previous, previous=current)
    return manifest


def _before(folder: Path, current: Path | None) -> Path | None:
    """The generation to go back to."""
    previous = read_pointer(folder, PREVIOUS)
    if current is None and (lost := _lost_generation(folder)):
        return lost
    if previous is None or current is None or _state(previous) != _state(current):
        return previous
    # A kill between the two writes of a switch leaves both pointers at the old state; the new one is there, whole.
    others = (other for other in sorted(folder.glob(f"{GENERATION}*")) if _state(other) != _state(current))
    return next(others, None)


def touch_source(generation: Path, existing: Manifest, wanted: Manifest) -> Manifest:
    """Remember the corpus file of `wanted`: the same passages may come from another file, or from one written anew."""
    updated = dataclasses.replace(
        existing, corpus_path=wanted.corpus_path, corpus_file_sha256=wanted.corpus_file_sha256
    )
    if updated != existing:
        write_manifest(generation, updated, read_parts(generation))
    return updated


def twins_of(target: Path, fingerprint: str) -> tuple[Path, Path]:
    """The two folders that a generation may stand in: while it serves from one, it can be built again in the other."""
    return target / f"generation-{fingerprint}", target / f"generation-{fingerprint}{TWIN}"


def _state(generation: Path) -> str:
    """What a generation holds, whichever of the two folders it stands in."""
    return generation.name.removesuffix(TWIN)


def switch_to(target: Path, building: Path, manifest: Manifest, *, previous: Path | None) -> None:
    """Make the finished build the generation that serves, and keep the one before.

    `previous` serves until then and is not touched: a damaged one is built again under the name of its twin.
    """
    generation = next(folder for folder in twins_of(target, manifest.fingerprint) if folder != previous)
    shutil.rmtree(generation, ignore_errors=True)
    # On the disk before anything names it: after a power cut, CURRENT may not lead to files without their content.
    for path in (*building.rglob("*"), building):
        wait_for_disk(path)
    # After a kill from here on, the next build finds the generation whole and only switches to it.
    os.rename(building, generation)
    serve_generation(target, generation, previous=previous)
    # Shards are needed until the generation serves. Left behind by a kill, they cost disk space and nothing else.
    for leftover in (*generation.glob("shard-*"), generation / "key.json"):
        leftover.unlink(missing_ok=True)


def _point(pointer: Path, generation: Path) -> None:
    """Let CURRENT or PREVIOUS name a generation."""
    if pointer.is_dir():  # nothing of ours, and nothing that a file could replace
        clear(pointer)
    write_durably(pointer, generation.name + "\n")


def serve_generation(target: Path, generation: Path, *, previous: Path | None) -> None:
    """Switch to a whole generation at once; all but it and the one before are deleted.

    What serves in the place of its twin has the same generation before it, if that is not the twin itself.
    """
    # PREVIOUS first. A kill before CURRENT is written leaves the old generation serving, and named twice, which
    # `roll_back` knows how to read. The other order could lose the way back.
    if previous is not None and _state(previous) != _state(generation):
        _point(target / PREVIOUS, previous)
    _point(target / CURRENT, generation)
    before = read_pointer(target, PREVIOUS)
    if before is not None and _state(before) == _state(generation):
        clear(target / PREVIOUS)
        before = None
    # Deleted last, when no pointer leads there. A kill leaves folders that the next switch deletes.
    for other in target.glob("generation-*"):
        if other not in (generation, before):
            shutil.rmtree(other, ignore_errors=True)
