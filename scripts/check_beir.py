"""Check a BEIR folder before hours of work begin: its files, its splits, and whether their ids belong together.

    python scripts/check_beir.py DATA SPLIT[?|=FILE]…

DATA holds corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv for every SPLIT named; one with a question mark may be
missing; the questions of one with a file are written into it. Each file may be packed by gzip. Says how much each split
holds; exits with 1 and one sentence where something is missing, empty, or does not match. Needs nothing but Python.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn


def main() -> None:
    if len(sys.argv) < 3:
        fail("usage: check_beir.py DATA SPLIT[?|=FILE]…")
    data = Path(sys.argv[1])
    passages = ids_in(file_of(data / "corpus.jsonl"), ("text", "title"))
    questions = ids_in(file_of(data / "queries.jsonl"), ("text",))
    seen: dict[str, str] = {}
    for name in sys.argv[2:]:
        split, _, target = name.removesuffix("?").partition("=")
        path = data / "qrels" / f"{split}.tsv"
        if name.endswith("?") and found(path) is None:
            continue
        judged = check_split(file_of(path), passages, questions)
        twice = next((qid for qid in judged if qid in seen), None)
        if twice is not None:
            fail(f"{path}: question {twice!r} is judged in {seen[twice]} too; a question belongs to one split")
        if target:
            write_questions(file_of(data / "queries.jsonl"), judged, Path(target))
        seen |= dict.fromkeys(judged, split)
        print(f"{path}: {len(judged):,} questions over {len(passages):,} passages", file=sys.stderr)


def check_split(path: Path, passages: set[str], questions: set[str]) -> set[str]:
    """The ids of the questions that a split judges, each with at least one passage that answers."""
    answered: set[str] = set()
    for number, line in lines_of(path):
        columns = line.split("\t") if "\t" in line else line.split()
        if number == 1 and columns[0] in ("query-id", "query_id", "qid"):
            continue
        if len(columns) == 4:  # as TREC writes them
            columns = [columns[0], columns[2], columns[3]]
        if len(columns) != 3 or not columns[2].strip().lstrip("-").isdigit():
            fail(
                f"{path}, line {number}: not a judgement ({line[:60]!r}); write query-id, corpus-id and a whole number"
            )
        qid, pid, grade = columns
        if qid not in questions:
            fail(f"{path}, line {number}: question {qid!r} is not in queries.jsonl; do the files belong together?")
        if pid not in passages:
            fail(f"{path}, line {number}: passage {pid!r} is not in corpus.jsonl; do the files belong together?")
        if int(grade) > 0:
            answered.add(qid)
    if not answered:
        fail(f"{path} judges no passage to answer a question; write lines of query-id, corpus-id and 1")
    return answered


def write_questions(path: Path, wanted: set[str], target: Path) -> None:
    """Write the questions of these ids, as their lines are."""
    with target.open("w", encoding="utf-8") as stream:
        for _, line in lines_of(path):
            row = json.loads(line)
            if str(row.get("_id", row.get("id"))) in wanted:
                stream.write(line + "\n")


def ids_in(path: Path, texts: tuple[str, ...]) -> set[str]:
    """The ids of a file's rows, each of which has one of these texts."""
    ids: set[str] = set()
    for number, line in lines_of(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            fail(f"{path}, line {number}: not valid JSON ({error}); write one object a line")
        row_id = row.get("_id", row.get("id")) if isinstance(row, dict) else None
        if row_id in (None, ""):
            fail(f"{path}, line {number}: no '_id'; write one object with _id and text a line")
        if not any(str(row.get(name) or "").strip() for name in texts):
            fail(f"{path}, line {number}: no {' or '.join(texts)}; fill it in or delete the line")
        if str(row_id) in ids:
            fail(f"{path}, line {number}: the id {row_id!r} stands twice; rename one")
        ids.add(str(row_id))
    if not ids:
        fail(f"{path} is empty; write one object with _id and text a line")
    return ids


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are not blank."""
    try:
        with path.open("rb") as start:
            is_packed = start.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if is_packed else path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                if text.strip():
                    yield number, text
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        fail(f"{path} cannot be read ({error})")


def file_of(path: Path) -> Path:
    return found(path) or fail(f"{path} is missing; the layout of BEIR: docs/train.md")


def found(path: Path) -> Path | None:
    """The file of that name, or the one packed by gzip beside it."""
    return next((file for file in (path, path.with_name(path.name + ".gz")) if file.is_file()), None)


def fail(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
