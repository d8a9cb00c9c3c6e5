"""JSON as people read it: numbers as they are written, every key of an object, nested values as `name: value`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rag.documents.decode import clean

MAX_NAMES = 20  # before a value: the innermost; so a deep file stays as long as it is
MAX_PATH_CHARACTERS = 500  # of these names
LEAST_NUMBERS_OF_A_VECTOR = 65
DEEP = "nested too deeply"


class Number(str):
    """A number as the file writes it: 10.0, 1e400, and integers of any length."""


class Fields(list):
    """An object: its names and values in the file's order, a name that stands twice with both of its values."""


Value = str | bool | None | list


def _fields(pairs: list[tuple[str, Value]]) -> Fields:
    return Fields(pairs)


_DECODER = json.JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=Number, object_pairs_hook=_fields, strict=False
)


def parse_value(text: str) -> Value:
    """The value in a text. Raises ValueError where it is not JSON, or nested more deeply than Python reads."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError(DEEP) from error


def parse_values(text: str) -> list[Value]:
    """The values that stand one after the other in a text, on as many lines as they like. Raises ValueError."""
    values: list[Value] = []
    place = _behind_blanks(text, 0)
    while place < len(text):
        try:
            value, place = _DECODER.raw_decode(text, place)
        except RecursionError as error:
            raise ValueError(DEEP) from error
        values.append(value)
        place = _behind_blanks(text, place)
    return values


def _behind_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\n,":
        place += 1
    return place


def shown(value: Value) -> str:
    """A scalar as text: a number as it is written, true or false; "" for null, an object or a list."""
    if isinstance(value, Number):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean(str(value)).strip() if isinstance(value, str) else ""


def is_list(value: Value) -> bool:
    """Whether a value is a list; an object, too, is one to Python."""
    return isinstance(value, list) and not isinstance(value, Fields)


def is_vector(value: Value) -> bool:
    """Whether a value is a long list of fractions: an embedding, which is no text."""
    return (
        isinstance(value, list)
        and len(value) >= LEAST_NUMBERS_OF_A_VECTOR
        and all(isinstance(item, Number) for item in value)
        and sum("." in item or "e" in item for item in value) * 2 > len(value)
    )


def lines(name: str, value: Value) -> Iterator[str]:
    """`name: value` for each scalar in a value, `name.field: value` for nested ones, in order.

    A list of scalars stands on one line, its items between commas. The items of other lists are numbered from 1. Null,
    "", {} and [] give no line; nor do embeddings. Works on values of any depth.
    """
    waiting: list[tuple[str, Value]] = [(name, value)]
    while waiting:
        path, value = waiting.pop()
        if is_vector(value):
            continue
        if isinstance(value, Fields):
            waiting += [(_joined(path, clean(field)), item) for field, item in reversed(value)]
        elif not isinstance(value, list):
            text = shown(value)
            if text:
                yield f"{path}: {text}" if path else text
        elif any(isinstance(item, list) for item in value):
            waiting += [(_joined(path, str(n)), item) for n, item in reversed(list(enumerate(value, 1)))]
        else:
            items = [text for item in value if (text := shown(item))]
            parted = "\n" if any("\n" in item or len(item) > 200 for item in items) else ", "
            if items:
                yield f"{path}: {parted.join(items)}" if path else parted.join(items)


def _joined(path: str, name: str) -> str:
    if len(path) > MAX_PATH_CHARACTERS:  # else a long name would stand before each of many values
        path = f"…{path[-MAX_PATH_CHARACTERS:]}"
    if path.count(".") >= MAX_NAMES:
        path = path.split(".", 1)[1]
    return f"{path}.{name}" if path and name else path or name
