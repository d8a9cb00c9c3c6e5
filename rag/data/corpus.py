"""Corpus files, and the layouts of folders that hold them.

Course layout: `corpus.txt` (JSON lines: id, text, title, source), `train.txt`, `dev.txt`, `test_open.txt`
(JSON lines: qid, question, rewrite, answer), `qrels.txt` (one JSON object: query id -> {passage id: relevance}).
BEIR layout: `corpus.jsonl` (_id, title, text), `queries.jsonl` (_id, text), `qrels/*.tsv`.
Each file may be packed by gzip, with `.gz` behind its name or not.
Every DataError names the file, the line, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag import fixes
from rag.data.embedded import embedded_corpus
from rag.data.packed import or_packed
from rag.data.passages import Corpus
from rag.data.rows import json_rows, line_error, optional_text, text_field
from rag.errors import DataError
from rag.types import Passage, Place

EMBEDDED = "embedded"
MOST_LINES_NAMED = 5


def load_corpus(path: str | Path) -> Corpus:
    """The passages of a file, of a folder in course or BEIR layout, or of the corpus named `embedded`.

    A title without text is a passage. Raises DataError for a line that holds no passage, an id that occurs twice, and a
    file without passages; every line that holds neither text nor title is named.
    """
    if str(path) == EMBEDDED:
        return embedded_corpus()
    file = corpus_file(path)
    passages: list[Passage] = []
    seen: dict[str, int] = {}
    empty: list[int] = []
    for line, row in json_rows(file):
        passage_id = text_field(row, ("id", "_id", "pid"), file, line)
        if passage_id in seen:
            raise line_error(
                file, line, f"the id {passage_id!r} already stands on line {seen[passage_id]}", "rename one"
            )
        seen[passage_id] = line
        title = optional_text(row, "title", file, line)
        text = _text_of(row, file, line)
        if not text and not title.strip():
            empty.append(line)
            continue
        place = _place_of(row, file, line)
        passages.append(Passage(passage_id, text, title, optional_text(row, "source", file, line), place))
    if empty:
        raise DataError(
            f"{file}, {_lines(empty)}: the field 'text' is empty, and there is no title; fill it in or delete the line"
        )
    if not passages:
        raise DataError(f"{file} holds no passage; each line must be a JSON object with id and text")
    return Corpus(passages)


def corpus_file(path: str | Path) -> Path:
    """The file that holds the passages: `path` itself, or the corpus inside a folder of either layout."""
    path = or_packed(Path(path))
    if path.is_dir():
        for name in ("corpus.txt", "corpus.jsonl"):
            if (file := or_packed(path / name)).is_file():
                return file
        raise DataError(
            f"{path} has neither corpus.txt nor corpus.jsonl; name the file that holds the passages, or ingest a "
            f"folder of documents: {fixes.ingest('INDEX', [path])}"
        )
    if not path.is_file():
        raise DataError(f"{path} does not exist; name a corpus file, a folder that holds one, or '{EMBEDDED}'")
    return path


def _text_of(row: dict, file: Path, line: int) -> str:
    """The text of a row, "" where it is empty or null. Raises DataError where there is no such field."""
    if "text" not in row:
        return text_field(row, ("text",), file, line)
    text = optional_text(row, "text", file, line)
    return text if text.strip() else ""


def _lines(numbers: Sequence[int]) -> str:
    """Line numbers in words; of many the first five."""
    if len(numbers) == 1:
        return f"line {numbers[0]}"
    if len(numbers) > MOST_LINES_NAMED:
        first = ", ".join(f"{number:,}" for number in numbers[:MOST_LINES_NAMED])
        return f"lines {first} and {len(numbers) - MOST_LINES_NAMED:,} more"
    return f"lines {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _place_of(row: dict, file: Path, line: int) -> Place | None:
    value = row.get("place")
    if value is None:
        return None
    try:
        return Place(int(value["start"]), int(value["end"]), value.get("page"))
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:  # an infinite number, too
        raise line_error(
            file, line, "the field 'place' is not {start, end, page}", "correct it or leave it out"
        ) from error
