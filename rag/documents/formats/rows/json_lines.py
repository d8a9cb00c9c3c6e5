"""JSON lines, and JSON: a row at a time, chats as conversations."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from rag.documents.decode import decode_noted
from rag.documents.document import Document, TextBuilder
from rag.documents.formats.rows.json_values import (
    DEEP,
    Fields,
    Value,
    is_list,
    is_vector,
    lines,
    parse_value,
    parse_values,
    shown,
)
from rag.errors import UnreadableFile

_TITLE_FIELDS = ("title", "name", "question", "id", "_id")
_TEXT_FIELDS = ("text", "body", "content", "answer")
_CHAT_FIELDS = ("messages", "conversations", "conversation", "dialog", "dialogue", "turns", "chat", "history")
_SPEAKERS = ("role", "from", "speaker", "author", "user", "sender", "name")
_WORDS = ("content", "value", "text", "message", "body", "utterance")
_WRONG = "not valid JSON"
_DATA_URL = "data:"
_CUT = re.compile(r'\s*\{[^:]*:\s*["\w\[{-]')  # an object, at least up to where a value begins
MAX_HEADING_CHARACTERS = 120


def parse_jsonl(data: bytes) -> Document:
    """A section for each row: its title, name, question or id as the heading, then its text, body, content or answer.

    All other fields follow as lines of `name: value`, nested ones as `address.city: Hull`; null and empty ones are left
    out. A list of messages becomes `speaker: words`. A row is a line, or an item of the one list that a file holds.
    Lines that are no JSON are kept as they stand, with a note; the last line of a killed log is cut like this. Raises
    UnreadableFile where most lines are none.
    """
    text, notes = decode_noted(data)
    builder = TextBuilder()
    writer = _Writer(builder)
    rows, bad = _rows(text)
    for row in rows:
        writer.row(row)
    return builder.document("jsonl", "", notes + bad + writer.notes())


class _BadLine(str):
    """A line that is no JSON, as it stands in the file."""


def _rows(text: str) -> tuple[list[Value], tuple[str, ...]]:
    """The rows of a file, and a note on the lines that are none."""
    numbered = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    wrong_from = 0  # the line where a file whose values span several lines stops being JSON
    if numbered and not _is_value(numbered[0][1]):
        try:
            values = parse_values(text)
            return (_unpacked(values[0]) if len(values) == 1 else values), ()
        except json.JSONDecodeError as error:
            wrong_from = error.lineno
        except ValueError:
            if len(numbered) > 1 and numbered[0][1] in "[{":
                return [_BadLine(text)], ("is nested too deeply; kept as it stands",)
    rows: list[Value] = []
    bad: list[tuple[int, str]] = []
    for number, line in numbered:
        if line in ("[", "]"):  # of a list whose end is cut off, an item on each line
            continue
        try:
            rows.append(_value(line))
        except ValueError as error:
            bad.append((number, DEEP if DEEP in str(error) else _WRONG))
            rows.append(_BadLine(line))
    if bad and bad[0][0] == numbered[0][0] and numbered[0][1] in "[{" and wrong_from:
        bad[0] = (wrong_from, _WRONG)
    if not bad:
        return (_unpacked(rows[0]) if len(rows) == 1 else rows), ()
    is_cut = bool(_CUT.match(numbered[-1][1]))
    return rows, (_note(bad, [number for number, _ in numbered], is_cut),)


def _note(bad: list[tuple[int, str]], numbers: list[int], is_cut: bool) -> str:
    """What to say of the lines that are no JSON: number and reason. Raises UnreadableFile where half of all are.

    A last line that was cut inside a value does not count where another line is sound.
    """
    wrong = [number for number, reason in bad if reason == _WRONG]
    n_counted = len(wrong) - (is_cut and wrong[-1:] == numbers[-1:] and len(wrong) < len(numbers))
    if 2 * n_counted >= len(numbers):
        raise UnreadableFile(f"line {wrong[0]} is {_WRONG}")
    if len(bad) == 1:
        number, reason = bad[0]
        cut = ", the last, " if number == numbers[-1] and wrong else " "
        return f"line {number}{cut}is {reason}{' (cut off?)' if cut.strip() else ''}; kept as it stands"
    listed = ", ".join(str(number) for number, _ in bad[:5]) + (", …" if len(bad) > 5 else "")
    return f"{len(bad)} lines are {_WRONG if wrong else DEEP} ({listed}); kept as they stand"


def _is_value(line: str) -> bool:
    try:
        _value(line)
        return True
    except ValueError:
        return False


def _value(line: str) -> Value:
    """The value on a line, which may end in the comma of a list."""
    return parse_value(line[:-1] if line.endswith(",") else line)


def _unpacked(value: Value) -> list[Value]:
    """The rows of a file that is one value: the items of a list, unless they are the messages of one conversation."""
    if isinstance(value, list) and is_list(value) and not _messages(value):
        return list(value)
    return [value]


class _Writer:
    """Appends rows to a text."""

    def __init__(self, builder: TextBuilder):
        self._builder = builder
        self._n_vectors = 0

    def notes(self) -> tuple[str, ...]:
        """What was left out of the rows."""
        return (f"{self._n_vectors} lists of numbers (embeddings) are left out",) if self._n_vectors else ()

    def row(self, row: Value) -> None:
        """Append a row: an object as a section, a list of messages as a conversation, anything else as lines."""
        if isinstance(row, _BadLine):
            self._builder.add("code", str(row))
        elif messages := _messages(row):
            self._conversation(messages)
        elif isinstance(row, Fields):
            self._section(row)
        else:
            self._builder.add("text", "\n".join(lines("", row)))

    def _section(self, fields: Fields) -> None:
        """The heading, the text, and the other fields. A row without a text keeps the heading's field among them."""
        heading = _first(fields, _TITLE_FIELDS)
        text = _first(fields, _TEXT_FIELDS)
        title = shown(heading[1]) if heading else ""
        is_chat = any(name.lower() in _CHAT_FIELDS and _messages(value) for name, value in fields)
        is_heading = 0 < len(title) <= MAX_HEADING_CHARACTERS and "\n" not in title
        if is_heading:
            self._builder.add("heading", title, level=1)
        elif title and (text or is_chat):
            self._builder.add("text", title)
        if text:
            self._builder.add("text", _said(text[1]))
        waiting: list[str] = []
        for field in fields:
            if field is text or (field is heading and (text or is_chat)):
                continue
            name, value = field
            self._n_vectors += is_vector(value)
            messages = _messages(value) if name.lower() in _CHAT_FIELDS else []
            if messages:
                self._builder.add("text", "\n".join(waiting))
                waiting = []
                self._conversation(messages)
            else:
                waiting += lines(name, value)
        self._builder.add("text", "\n".join(waiting))

    def _conversation(self, messages: list[Fields]) -> None:
        for message in messages:
            speaker = _first(message, _SPEAKERS)
            words = _first(message, _WORDS)
            said = _said(words[1]) if words else ""
            who = shown(speaker[1]) if speaker else ""
            others = [field for field in message if field is not speaker and field is not words]
            rest = [line for name, value in others for line in lines(name, value)]
            first = f"{who}: {said}" if who and said else who + said
            self._builder.add("text", "\n".join([first, *rest]))


def _first(fields: Fields, names: Sequence[str]) -> tuple[str, Value] | None:
    """The first of these fields that holds text, a number or a list of them; None where there is none."""
    for name in names:
        for field in fields:
            if field[0].lower() == name and (shown(field[1]) or _is_text_list(field[1], name)):
                return field
    return None


def _is_text_list(value: Value, name: str) -> bool:
    """Whether a field that holds text does so as a list of paragraphs or of the parts of a message."""
    if name in _TITLE_FIELDS or not isinstance(value, list) or not value:
        return False
    return is_list(value) and all(shown(item) or isinstance(item, Fields) for item in value) and bool(_said(value))


def _messages(value: Value) -> list[Fields]:
    """The messages of a conversation; [] where a value is none."""
    if not isinstance(value, list) or not is_list(value) or not value:
        return []
    messages = [item for item in value if isinstance(item, Fields)]
    if len(messages) < len(value):
        return []
    names = [{name.lower() for name, _ in message} for message in messages]
    if any(found & {"title", "question", "subject"} for found in names):
        return []
    speaks = [any(field in found for field in _SPEAKERS[:-1]) for found in names]
    says = [any(field in found for field in (*_WORDS, "tool_calls", "parts")) for found in names]
    return messages if all(speaks) and all(says) else []


def _said(value: Value) -> str:
    """The words of a message: text, or parts of which some are text. Data inside a link is left out."""
    if not isinstance(value, list):
        return shown(value)
    parts = [value] if isinstance(value, Fields) else value
    said: list[str] = []
    for part in parts:
        if not isinstance(part, Fields):
            said.append(shown(part))
            continue
        kept = [field for field in part if not (field[0] == "type" and _first(part, ("text",)))]
        texts = [line for name, item in kept for line in lines("" if name == "text" else name, item)]
        said += [line if _DATA_URL not in line else line.split(_DATA_URL)[0] + "(data)" for line in texts]
    return "\n".join(text for text in said if text)
