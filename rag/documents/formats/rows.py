"""CSV, TSV and JSON lines: a row at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from rag.documents.decode import decode
from rag.documents.document import Document, TextBuilder
from rag.errors import UnreadableFile

MAX_LINE_CHARACTERS = 1_000_000


def parse_csv(data: bytes) -> Document:
    builder = TextBuilder()
    builder.table(list(_csv_rows(decode(data))))
    return builder.document("csv", "")


def _csv_rows(text: str) -> Iterator[list[str]]:
    try:
        dialect = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(MAX_LINE_CHARACTERS)
    yield from csv.reader(io.StringIO(text), dialect)


def parse_jsonl(data: bytes) -> Document:
    """A line a section: its title or id as the heading, its text as text; other fields as `name: value`."""
    builder = TextBuilder()
    for number, line in enumerate(decode(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnreadableFile(f"line {number} is not valid JSON") from error
        if not isinstance(row, dict):
            builder.add("text", str(row))
            continue
        title = next((str(row[key]) for key in ("title", "name", "question", "id", "_id") if row.get(key)), "")
        builder.add("heading", title, level=1)
        body = next((str(row[key]) for key in ("text", "body", "content", "answer") if row.get(key)), "")
        rest = [f"{key}: {value}" for key, value in row.items() if isinstance(value, str | int | float) and not body]
        builder.add("text", body or "\n".join(rest))
    return builder.document("jsonl", "")
