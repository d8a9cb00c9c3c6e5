"""CSV, TSV and JSON lines: a row at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence

from rag.documents.decode import decode
from rag.documents.document import Document, TextBuilder
from rag.errors import UnreadableFile

MAX_LINE_CHARACTERS = 1_000_000
_TITLE_FIELDS = ("title", "name", "question", "id", "_id")
_TEXT_FIELDS = ("text", "body", "content", "answer")


def parse_csv(data: bytes) -> Document:
    """One table, whose first row names the columns. Line breaks inside a cell become spaces; empty rows are lost."""
    builder = TextBuilder()
    builder.table(list(_csv_rows(decode(data))))
    return builder.document("csv", "")


def _csv_rows(text: str) -> Iterator[list[str]]:
    dialect: type[csv.Dialect]
    try:
        dialect = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(MAX_LINE_CHARACTERS)
    yield from csv.reader(io.StringIO(text), dialect)


def parse_jsonl(data: bytes) -> Document:
    """A section for each line: its title, name, question or id as the heading, its text, body, content or answer below.

    A row without any of these texts is kept as lines of `name: value`; of a row with one, the other fields are lost,
    and so are lists and objects inside a row.
    """
    builder = TextBuilder()
    for number, line in enumerate(decode(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnreadableFile(f"line {number} is not valid JSON") from error
        if isinstance(row, dict):
            builder.add("heading", _first(row, _TITLE_FIELDS), level=1)
            builder.add("text", _first(row, _TEXT_FIELDS) or _named_values(row))
        else:
            builder.add("text", str(row))
    return builder.document("jsonl", "")


def _first(row: dict, names: Sequence[str]) -> str:
    """The first of these fields that a row has, as text; "" where it has none."""
    return next((str(row[name]) for name in names if row.get(name)), "")


def _named_values(row: dict) -> str:
    return "\n".join(f"{name}: {value}" for name, value in row.items() if isinstance(value, str | int | float))
