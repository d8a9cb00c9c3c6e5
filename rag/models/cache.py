"""The cache of models that were made on this machine: each in a folder that is there whole, or not at all."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from rag.compute.kept import is_whole, note_files
from rag.errors import ModelError
from rag.files import clear, is_read_only, json_if_sound, write_json
from rag.progress import say

RECORD = "rag_model.json"

Make = Callable[[Path], tuple[Path, Mapping[str, Any]]]
"""Makes a model: given an empty folder to work in, it returns the finished folder within it and the model's record."""


def model_folder(home: Path, model: str) -> Path:
    """Where the model of that name is kept."""
    return home / "models" / model.replace("/", "--")


def cached_model(home: Path, model: str, **made_from: str) -> Path | None:
    """The folder of a model, if it is there and whole: the record is written last, and no file has changed since.

    `made_from` are entries that its record has to hold; a model that was made from something else does not count.
    """
    folder = model_folder(home, model)
    if not (folder / RECORD).exists():
        return None
    record = json_if_sound(folder / RECORD)
    if record is None or not is_whole(folder):
        _say_damaged(folder)
        return None
    if any(record.get(key) != value for key, value in made_from.items()):
        return None
    return folder


def _check_writable(folder: Path, model: str) -> None:
    """Raises ModelError where a model cannot be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if is_read_only(error):
            fix = "set RAG_HOME to a folder of your own"
            raise ModelError(f"{model} cannot be kept in {folder} ({error.strerror}); {fix}") from error
        raise


@functools.cache
def _say_damaged(folder: Path) -> None:
    say(f"{folder} is damaged, and is made again")


def make_once(home: Path, model: str, make: Make, **made_from: str) -> Path:
    """The folder of a model; made if it is not there, or was made from something else (`cached_model`).

    Several processes make it once. What `make` raises is passed on and leaves nothing.
    """
    if (kept := cached_model(home, model, **made_from)) is not None:
        return kept  # no lock is needed, nor a folder that can be written
    target = model_folder(home, model)
    _check_writable(target.parent, model)
    with FileLock(f"{target}.lock"):
        if cached_model(home, model, **made_from):
            return target
        # The work is done in a temporary folder that is renamed at the end: work that is killed or fails leaves
        # nothing that looks whole. Leftovers are of a killed one, because nobody else holds the lock.
        prefix = f".building-{target.name}-"
        for leftover in target.parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as scratch:
            finished, record = make(Path(scratch))
            write_json(finished / RECORD, {**record, **made_from})
            note_files(finished)
            clear(target)
            os.rename(finished, target)
    return target
