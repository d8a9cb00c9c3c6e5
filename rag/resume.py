"""Work that goes on after a kill: what a file or folder was made from, and the rows it already holds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rag import fixes
from rag.errors import DataError, RunMismatchError
from rag.files import json_line, read_json, write_json
from rag.progress import progress, say

T = TypeVar("T")
DIFFERENCES_NAMED = 4
MAX_VALUE_CHARACTERS = 40


def remember(record: Path, identity: Mapping, made: Path, *, irrelevant: Sequence[str] = ()) -> None:
    """Note in `record` what `made` is made from; raises RunMismatchError where it notes something else already.

    Where nothing is made yet, what is noted does not matter. `irrelevant` names sections that older records hold
    although they shape nothing; they are not compared.
    """
    if _is_begun(made):
        check_made(record, identity, made, irrelevant=irrelevant)
        if record.is_file():
            return
    write_json(record, identity)


def _is_begun(made: Path) -> bool:
    """Whether a folder is there, or a file with something in it."""
    return made.is_dir() or (made.is_file() and made.stat().st_size > 0)


def check_made(record: Path, identity: Mapping, made: Path, *, irrelevant: Sequence[str] = ()) -> None:
    """Raises RunMismatchError where `record` notes that `made` is made from something else."""
    if not record.exists():
        return
    fix = f"choose another -o, or delete what is there: {fixes.remove(made)}"
    stored = read_json(record, RunMismatchError, fix=fix)
    if found := differences(stored, identity, irrelevant=irrelevant):
        raise RunMismatchError(f"{made} was made otherwise ({found}); choose another -o, or delete it")


def differences(stored: Mapping, now: Mapping, *, irrelevant: Sequence[str] = ()) -> str:
    """The first values that differ, nested keys joined by dots, settings first; an empty text where all are equal.

    Values are compared as JSON holds them: a tuple equals the list of its items.
    """
    theirs, ours = flatten(stored), flatten(json.loads(json.dumps(now)))
    prefixes = tuple(f"{section}." for section in irrelevant)
    compared = [key for key in theirs.keys() | ours.keys() if not key.startswith(prefixes)]
    differing = sorted(
        (key for key in compared if theirs.get(key) != ours.get(key)),
        # What a person set explains the rest.
        key=lambda key: (not key.startswith("settings."), key),
    )
    named = [f"{key}: {_short(theirs.get(key))} there, {_short(ours.get(key))} now" for key in differing]
    return "; ".join(named[:DIFFERENCES_NAMED])


def flatten(record: Mapping, prefix: str = "") -> dict:
    """Nested keys of a record joined by dots."""
    flat: dict[str, object] = {}
    for key, item in record.items():
        flat.update(flatten(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {f"{prefix}{key}": item})
    return flat


def append_rows(
    path: Path,
    todo: Sequence[T],
    work: Callable[[Sequence[T]], Iterable[Mapping]],
    *,
    label: str,
    n_done: int,
    chunk_size: int,
    unit: str = "questions",
) -> None:
    """Append the rows that `work` makes of each chunk of `todo` to a file of JSON lines.

    Each chunk is on the disk before the next begins, so that a kill costs one chunk at most. `n_done` items were done
    before and count in the progress shown.
    """
    if not todo:
        return
    with path.open("ab") as stream, progress(label, n_done + len(todo), unit, already_done=n_done) as bar:
        for start in range(0, len(todo), chunk_size):
            chunk = todo[start : start + chunk_size]
            stream.write(b"".join(json_line(row) for row in work(chunk)))
            stream.flush()
            os.fsync(stream.fileno())
            bar.advance(len(chunk))


def read_jsonl(path: Path) -> list[dict]:
    """The whole lines of a file; a torn last line, left by a kill, is not there yet.

    Raises DataError for a damaged line before the last: whoever reads would take the part before it for all.
    """
    rows = []
    for number, (_, row) in enumerate(_lines(path), 1):
        if row is None:
            raise DataError(
                f"{path}, line {number} is damaged; the command that made the file makes it again from there on, or "
                f"all of it where the file is away: {fixes.set_aside(path)}"
            )
        rows.append(row)
    return rows


def resume_jsonl(path: Path, key: str = "qid") -> set[str]:
    """The ids already there; whatever follows the last whole line, or a damaged one, is cut off."""
    done: set[str] = set()
    end = 0
    for number, (behind, row) in enumerate(_lines(path), 1):
        if row is None or not isinstance(row.get(key), str):
            say(f"{path}, line {number} is damaged: it and all behind it are made again")
            break
        done.add(row[key])
        end = behind
    if path.is_file() and path.stat().st_size != end:
        os.truncate(path, end)
    return done


def _lines(path: Path) -> Iterator[tuple[int, dict | None]]:
    """(offset behind the line, row) of every whole line; None as the row of a damaged one that others follow."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as stream:
        for raw in stream:
            if not raw.endswith(b"\n"):
                return
            try:
                row = json.loads(raw)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                if not stream.read(1):
                    return  # zeros that a crash of the machine left
                yield offset, None
                return
            offset += len(raw)
            yield offset, row


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 3] + "…'"
