"""Tuned models that serve in the place of their base: `RAG_HOME/promoted.json`, name -> folders, the last serves.

A name is a model's, or the folder of one: what was promoted in the place of a promoted folder serves for both.
"""

from __future__ import annotations

from pathlib import Path

from rag.errors import ModelError
from rag.files import read_json, write_json
from rag.models.resolve import rag_home


def _file() -> Path:
    return rag_home() / "promoted.json"


def all_promoted() -> dict[str, list[str]]:
    """Base name -> folders promoted in its place, oldest first."""
    return read_json(_file(), ModelError, fix="delete it to serve the base models", default={})


def serving(name: str) -> str:
    """The folder that serves in the place of `name`, or the name itself. Raises ModelError where the folder is gone."""
    promoted, passed = all_promoted(), set()
    while (folders := promoted.get(_key(name))) and _key(name) not in passed:
        passed.add(_key(name))
        if not Path(folders[-1]).is_dir():
            raise ModelError(
                f"{folders[-1]}, promoted in the place of {name}, is gone; go back: rag promote --back {name}"
            )
        name = folders[-1]
    return name


def _key(name: str) -> str:
    """A folder under whatever path it is named; the name of a model as it is."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def promote(name: str, folder: str | Path) -> None:
    """Let `folder` serve wherever `name` is asked for."""
    promoted = all_promoted()
    promoted.setdefault(_key(name), []).append(str(Path(folder).resolve()))
    _file().parent.mkdir(parents=True, exist_ok=True)
    write_json(_file(), promoted)


def go_back(name: str) -> str:
    """Take the last promotion of `name` back; returns what serves now. Raises ModelError where nothing is promoted."""
    promoted = all_promoted()
    if not promoted.get(key := _key(name)):
        known = ", ".join(promoted) or "none"
        raise ModelError(f"nothing is promoted in the place of {name!r} (promoted: {known})")
    promoted[key].pop()
    remaining = {base: folders for base, folders in promoted.items() if folders}
    write_json(_file(), remaining)
    return serving(key)
