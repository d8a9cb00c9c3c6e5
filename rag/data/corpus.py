"""Corpus files, and the layouts of folders that hold them.

Course layout: `corpus.txt` (JSON lines: id, text, title, source), `train.txt`, `dev.txt`, `test_open.txt`
(JSON lines: qid, question, rewrite, answer), `qrels.txt` (one JSON object: query id -> {passage id: relevance}).
BEIR layout: `corpus.jsonl` (_id, title, text), `queries.jsonl` (_id, text), `qrels/*.tsv`.
Each file may be packed by gzip, with `.gz` behind its name or not.
Tables and data sets of the hub: `rag.data.source`. A table of questions with passages beside them is a corpus of these.
Every DataError names the file, the line, and what to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag import fixes
from rag.data.embedded import embedded_corpus
from rag.data.evidences import evidences_of, holds_evidences
from rag.data.packed import or_packed
from rag.data.passages import Corpus
from rag.data.rows import json_rows, line_error, optional_text, parsed, rows_of, text_field
from rag.data.source import KINDS, Source, source_of
from rag.data.tables import open_table, used_columns
from rag.errors import DataError
from rag.types import Passage, Place

EMBEDDED = "embedded"
MOST_LINES_NAMED = 5


def load_corpus(path: str | Path) -> Corpus:
    """The passages of a file, folder, table or data set (`rag.data.source`), or of the corpus named `embedded`.

    A title without text is a passage. Raises DataError for a line that holds no passage, an id that occurs twice, and a
    file without passages; every line that holds neither text nor title is named.
    """
    if str(path) == EMBEDDED:
        return embedded_corpus()
    source = corpus_source(path)
    found = _Found(source)
    if _holds_pairs(source):
        _take_evidences(found)
    else:
        _take_passages(found)
    return Corpus(found.checked())


def corpus_source(path: str | Path) -> Source:
    """The file or table that holds the passages: what `path` names, or the corpus inside a folder of either layout."""
    source = source_of(path)
    if source.is_table:
        return source
    return dataclasses.replace(source, where=str(corpus_file(source.path)), kind="lines")


def corpus_files(path: str | Path) -> list[Path]:
    """The files that a corpus is read from; none of a data set of the hub. Raises DataError where there are none."""
    source = corpus_source(path)
    if source.kind == "hub":
        return []
    if source.path.is_file():
        return [source.path]
    return sorted(file for file in source.path.rglob("*") if file.suffix in (".parquet", ".arrow", ".json"))


def corpus_format(path: str | Path) -> str:
    """How a table of passages is read, in words; "" for what is no table. Raises DataError as `load_corpus` does."""
    if str(path) == EMBEDDED or not (source := corpus_source(path)).is_table:
        return ""
    if _holds_pairs(source):
        return f"{KINDS[source.kind]}, the passages that stand beside questions, each once"
    return used_columns(source, ("id", "text", "title", "source"))


class _Found:
    """Passages as they are read, by ids that occur once."""

    def __init__(self, source: Source):
        self.source = source
        self.passages: list[Passage] = []
        self.empty: list[int] = []
        self._seen: dict[str, int] = {}

    def add(self, number: int, passage: Passage) -> None:
        """Take a passage of a row; raises DataError where there is one of its id."""
        if passage.id in self._seen:
            where = f"stands {'in row' if self.source.is_table else 'on line'} {self._seen[passage.id]}"
            raise line_error(self.source, number, f"the id {passage.id!r} already {where}", "rename one")
        self._seen[passage.id] = number
        self.passages.append(passage)

    def checked(self) -> list[Passage]:
        """All of them. Raises DataError where there are none, or rows that hold nothing."""
        if self.empty:
            fix = f"fill it in or delete the {self.source.unit}"
            where = _lines(self.empty, self.source.unit)
            raise DataError(f"{self.source}, {where}: the field 'text' is empty, and there is no title; {fix}")
        if not self.passages:
            holds = "it needs a row for each" if self.source.is_table else "each line must be a JSON object"
            raise DataError(f"{self.source} holds no passage; {holds} with id and text")
        return self.passages


def _holds_pairs(source: Source) -> bool:
    """Whether the rows are questions with passages beside them, and not passages."""
    if "text" in source.columns:
        return False
    found = open_table(source).columns if source.is_table else next((row for _, row in json_rows(source.path)), {})
    if "text" not in found and holds_evidences(source, found):
        return True
    if source.is_table and source.holder("text", found) is None:
        raise source.lacks("the text of a passage", "text", found)
    return False


def _take_passages(found: _Found) -> None:
    """A passage from each row."""
    source = found.source
    title_name, source_name = source.names("title")[0], source.names("source")[0]
    for number, row in rows_of(source):
        has_id = not source.is_table or source.holder("id", row) is not None
        passage_id = text_field(row, source.names("id"), source, number) if has_id else f"row-{number}"
        title = optional_text(row, title_name, source, number)
        text = _text_of(row, source, number)
        if not text and not title.strip():
            found.empty.append(number)
            continue
        place = _place_of(row, source, number)
        found.add(number, Passage(passage_id, text, title, optional_text(row, source_name, source, number), place))


def _take_evidences(found: _Found) -> None:
    """Each passage that stands beside a question, once: those of one id, or else of one title and text, are one."""
    source = found.source
    taken: dict[object, Passage] = {}
    for number, row in rows_of(source):
        evidences = evidences_of(row, source, number, None) or []
        for n, one in enumerate(evidences, 1):
            own = one.id or (f"row-{number}" if len(evidences) == 1 else f"row-{number}-{n}")
            passage = Passage(own, one.text, one.title, "")
            key = one.id or (one.title, one.text)
            before = taken.setdefault(key, passage)
            if before is passage:
                found.add(number, passage)
            elif (before.title, before.text) != (one.title, one.text):
                raise line_error(source, number, f"the passage {own!r} has another text than before", "rename one")


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
        raise DataError(
            f"{path} does not exist; name a corpus file, a folder that holds one, a data set of the hub as owner/name, "
            f"or '{EMBEDDED}'"
        )
    return path


def _text_of(row: dict, source: Source, line: int) -> str:
    """The text of a row, "" where it is empty or null. Raises DataError where there is no such field."""
    name = source.holder("text", row)
    if name is None:
        return text_field(row, source.names("text")[:1], source, line)
    text = optional_text(row, name, source, line)
    return text if text.strip() else ""


def _lines(numbers: Sequence[int], unit: str) -> str:
    """The numbers of lines or rows in words; of many the first five."""
    if len(numbers) == 1:
        return f"{unit} {numbers[0]}"
    if len(numbers) > MOST_LINES_NAMED:
        first = ", ".join(f"{number:,}" for number in numbers[:MOST_LINES_NAMED])
        return f"{unit}s {first} and {len(numbers) - MOST_LINES_NAMED:,} more"
    return f"{unit}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _place_of(row: dict, file: Source, line: int) -> Place | None:
    value: Any = parsed(row.get("place"))
    if value is None:
        return None
    try:
        return Place(int(value["start"]), int(value["end"]), value.get("page"))
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:  # an infinite number, too
        raise line_error(
            file, line, "the field 'place' is not {start, end, page}", "correct it or leave it out"
        ) from error
