"""Rows of files and tables, read with errors that name file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rag.data.packed import raw_lines
from rag.data.source import Source
from rag.data.tables import table_rows
from rag.errors import DataError

MOST_NAMES_TOLD = 3


def numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of a UTF-8 file, as it is or packed by gzip; a byte-order mark is dropped.

    Raises DataError with the line of a wrong byte, and as `raw_lines` does.
    """
    for number, raw in raw_lines(file):
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise line_error(
                file, number, f"byte {error.start + 1} of the line is not UTF-8", "save the file as UTF-8"
            ) from error
        yield number, text.rstrip("\r\n")


def json_rows(file: Path) -> Iterator[tuple[int, dict]]:
    """(line number, object) of a file of JSON lines; raises DataError naming the line."""
    for line, text in numbered_lines(file):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise line_error(
                file, line, f"not valid JSON: {error.msg} at column {error.colno}", "write one object a line"
            ) from error
        except (ValueError, RecursionError) as error:  # a number or a nesting beyond what Python reads
            raise line_error(file, line, f"not valid JSON: {error}", "write one object a line") from error
        if not isinstance(row, dict):
            raise line_error(file, line, f"a {type(row).__name__}, not a JSON object", "write one object a line")
        yield line, row


def rows_of(source: Source) -> Iterator[tuple[int, dict]]:
    """(number, row) of a table, or of a file of JSON lines."""
    return table_rows(source) if source.is_table else json_rows(source.path)


def text_field(row: dict, names: tuple[str, ...], file: Path | Source, line: int) -> str:
    """The first of these fields that a row has, as text; a number is taken for an id, but not for a text.

    Raises DataError where it is missing, empty or of another type.
    """
    for name in names:
        if name in row:
            value = row[name]
            if isinstance(value, int) and not isinstance(value, bool) and name != "text":
                value = str(value)
            if not isinstance(value, str | None):
                raise line_error(
                    file, line, f"the field {name!r} is a {type(value).__name__}, not text", "write a string"
                )
            if not (value or "").strip():
                raise line_error(file, line, f"the field {name!r} is empty", f"fill it in or delete the {_unit(file)}")
            return str(value)
    wanted = " or ".join(repr(name) for name in names[:MOST_NAMES_TOLD])
    raise line_error(file, line, f"no field {wanted} (found: {', '.join(sorted(row)) or 'nothing'})", "add it")


def optional_text(row: dict, name: str, file: Path | Source, line: int) -> str:
    """A field as text, "" where it is missing or null. Raises DataError where it is of another type."""
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise line_error(file, line, f"the field {name!r} is a {type(value).__name__}, not text", "write a string")
    return value


def parsed(value: object) -> object:
    """A value; where it is a text that holds a list or an object in JSON, as a cell of CSV does, that."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def line_error(file: Path | Source, line: int, problem: str, remedy: str) -> DataError:
    """The error to raise for a line, or the row of a table: what is wrong with it, and what to do."""
    return DataError(f"{file}, {_unit(file)} {line}: {problem}; {remedy}")


def _unit(file: Path | Source) -> str:
    return file.unit if isinstance(file, Source) else "line"
