"""Tuned models that serve in place of their base, kept in `RAG_HOME/promoted.json`: name -> folders, the last serves.

A name is a model's name or a model's folder. A model that was promoted in place of a promoted folder serves for both.
What was promoted in place of a packaged model also serves for the adapters of this package that were tuned of it,
unless another one was promoted in their place: an adapter may have become the default since.

A question encoder is promoted under the name of the encoder beside which it embeds questions, and `#questions` behind
it: the encoder itself goes on to embed passages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rag import fixes
from rag.errors import ModelError
from rag.files import read_json, write_json
from rag.models.adapters import untuned
from rag.models.resolve import rag_home

QUESTIONS = "#questions"


def _file() -> Path:
    return rag_home() / "promoted.json"


def all_promoted() -> dict[str, list[str]]:
    """Name of the base -> folders that were promoted in its place, oldest first.

    Raises ModelError where the file is damaged.
    """
    fix = f"set it aside, and the base models serve: {fixes.set_aside(_file())}"
    promoted = read_json(_file(), ModelError, fix=fix, default={})
    for folders in promoted.values():
        if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
            raise ModelError(f"{_file()} is damaged (it names no folders); {fix}")
    return promoted


def what_serves(name: str) -> str:
    """The folder that serves in place of `name`, or the name itself. Raises ModelError where the folder is gone.

    Of `questions_of` an encoder it is what embeds questions: the encoder itself where nothing is promoted for them.
    """
    promoted = all_promoted()
    name = _promoted_as(name, promoted)
    passed: set[str] = set()  # promotions can form a circle, which ends where it began
    while (folders := promoted.get(_key(name))) and _key(name) not in passed:
        passed.add(_key(name))
        if not Path(folders[-1]).is_dir():
            raise ModelError(f"{folders[-1]}, promoted in place of {name}, is gone; go back: {fixes.go_back(name)}")
        name = folders[-1]
    return name if Path(name).is_dir() else name.removesuffix(QUESTIONS)


def questions_of(encoder: str) -> str:
    """The name under which another model is promoted to embed questions beside this encoder."""
    return _key(encoder) + QUESTIONS


def serves_for_questions(encoder: str) -> str | None:
    """The folder that was promoted to embed questions beside this encoder, None where none was; as `what_serves`."""
    name = questions_of(encoder)
    return what_serves(name) if all_promoted().get(name) else None


def _key(name: str) -> str:
    """The absolute path of a folder, so that it is the same however it is named; the name of a model as it is."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _promoted_as(name: str, promoted: Mapping[str, list[str]]) -> str:
    """The name in whose place a model was promoted that serves for `name`; where none was, the name itself."""
    if promoted and not promoted.get(_key(name)) and (base := untuned(name)) and promoted.get(base):
        return base
    return name


def promote(name: str, folder: str | Path) -> None:
    """Let `folder` serve from now on wherever `name` is asked for."""
    promoted = all_promoted()
    promoted.setdefault(_key(name), []).append(str(Path(folder).resolve()))
    _file().parent.mkdir(parents=True, exist_ok=True)
    write_json(_file(), promoted)


def go_back(name: str) -> str:
    """Undo the last promotion of `name`; returns what serves now. Raises ModelError where nothing is promoted."""
    promoted = all_promoted()
    key = _key(_promoted_as(name, promoted))
    if not promoted.get(key):
        known = ", ".join(promoted) or "none"
        raise ModelError(f"nothing is promoted in place of {name!r} (promoted: {known})")
    promoted[key].pop()
    remaining = {base: folders for base, folders in promoted.items() if folders}
    write_json(_file(), remaining)
    return what_serves(_key(name))
