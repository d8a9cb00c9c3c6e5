"""Tuned models that serve in place of their base, kept in `RAG_HOME/promoted.json`: name -> folders, the last serves.

A name is a model's name or a model's folder. A model that was promoted in place of a promoted folder serves for both.
"""

from __future__ import annotations

from pathlib import Path

from rag import fixes
from rag.errors import ModelError
from rag.files import read_json, write_json
from rag.models.resolve import rag_home


def _file() -> Path:
    return rag_home() / "promoted.json"


def all_promoted() -> dict[str, list[str]]:
    """Name of the base -> folders that were promoted in its place, oldest first."""
    return read_json(_file(), ModelError, fix="delete it to serve the base models", default={})


def what_serves(name: str) -> str:
    """The folder that serves in place of `name`, or the name itself. Raises ModelError where the folder is gone."""
    promoted = all_promoted()
    passed: set[str] = set()  # promotions can form a circle, which ends where it began
    while (folders := promoted.get(_key(name))) and _key(name) not in passed:
        passed.add(_key(name))
        if not Path(folders[-1]).is_dir():
            raise ModelError(f"{folders[-1]}, promoted in place of {name}, is gone; go back: {fixes.go_back(name)}")
        name = folders[-1]
    return name


def _key(name: str) -> str:
    """The absolute path of a folder, so that it is the same however it is named; the name of a model as it is."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def promote(name: str, folder: str | Path) -> None:
    """Let `folder` serve from now on wherever `name` is asked for."""
    promoted = all_promoted()
    promoted.setdefault(_key(name), []).append(str(Path(folder).resolve()))
    _file().parent.mkdir(parents=True, exist_ok=True)
    write_json(_file(), promoted)


def go_back(name: str) -> str:
    """Undo the last promotion of `name`; returns what serves now. Raises ModelError where nothing is promoted."""
    promoted = all_promoted()
    key = _key(name)
    if not promoted.get(key):
        known = ", ".join(promoted) or "none"
        raise ModelError(f"nothing is promoted in place of {name!r} (promoted: {known})")
    promoted[key].pop()
    remaining = {base: folders for base, folders in promoted.items() if folders}
    write_json(_file(), remaining)
    return what_serves(key)
