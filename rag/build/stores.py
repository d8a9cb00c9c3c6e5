"""Where an index keeps its passages, by the settings; what its folder notes of that decides from then on."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from rag.config import Settings
from rag.errors import ConfigError, IndexMismatchError
from rag.index.folder import CURRENT
from rag.store.note import StoreNote, has_note, name_in_store, read_note, write_note


def note_of(settings: Settings, index_folder: str | Path) -> StoreNote:
    """The note of an index folder whose passages the settings keep in Milvus."""
    chosen = settings.store
    uri = chosen.uri if not chosen.uri or "://" in chosen.uri else str(Path(chosen.uri).absolute())
    return StoreNote(
        name=name_in_store(Path(index_folder)),
        uri=uri,
        token_variable=chosen.token_variable,
        index=chosen.index,
        replicas=chosen.replicas,
        consistency=chosen.consistency,
        timeout_seconds=chosen.timeout_seconds,
    )


def use_store(settings: Settings, index_folder: str | Path, *, making: bool = False) -> None:
    """Let an index be in the store that the settings name; nothing where they name none.

    An index stays where it was made, in a folder or in a store (ConfigError); the address of a store may change. Unless
    it is to be made, it has to be in the store already: another machine may have made it. Raises IndexMismatchError
    where the store does not answer.
    """
    folder = Path(index_folder)
    if settings.store.kind == "faiss":
        if making and has_note(folder):
            _make_again(read_note(folder), folder)
        return
    note = note_of(settings, index_folder)
    old: StoreNote | None = None
    with contextlib.suppress(IndexMismatchError):  # a damaged one is written again
        old = read_note(folder) if has_note(folder) else None
    if old is not None:
        # A folder that was copied or renamed is still of the index that it names.
        is_there = not note.uri or note.address(folder) == old.address(folder)
        note = dataclasses.replace(note, name=old.name, uri=old.uri if is_there else note.uri)
        if note == old:
            if making:
                _make_again(note, folder)
            return
    from rag.store.client import check_installed

    check_installed(embedded=note.is_embedded)
    if (folder / CURRENT).exists():
        raise ConfigError(
            f"{folder} holds an index of store.kind faiss, which stays where it is; name a new folder for milvus"
        )
    from rag.store.milvus import MilvusReader

    reader = MilvusReader(note, folder, creates=making)  # before anything is written: does it answer?
    if old is not None and note.uri != old.uri and not reader.serves:
        raise ConfigError(
            f"{folder} keeps its passages at {old.address(folder)}, where they stay; name a new folder for "
            f"{note.address(folder)}"
        )
    if making or reader.opened:
        write_note(folder, note)


def _make_again(note: StoreNote, folder: Path) -> None:
    """Let an embedded store be there, empty, whose files were deleted."""
    if note.is_missing(folder):
        from rag.store.milvus import MilvusReader

        MilvusReader(note, folder, creates=True)
