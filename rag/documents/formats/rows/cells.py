"""Lines become cells: quotes, escaped quotes, quotes that nobody closed. In time linear in the text's length."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

_BACKSLASHED = re.compile(r'\\"(?=[^",;\t|\n ])')
_CLOSED = re.compile(r'(=?)"([^"]*(?:""[^"]*)*)"[ \t]*')
_CLOSED_BACKSLASH = re.compile(r'(=?)"([^"\\]*(?:(?:\\.|"")[^"\\]*)*)"[ \t]*', re.S)
MAX_CHARACTERS_FOR_CSV = 100_000  # a longer cell may be over the limit of Python's csv module


class Rows:
    """The rows of a text, each as its cells, parted by a delimiter; "" leaves every line one cell.

    `"` at the beginning of a cell quotes up to the `"` before a delimiter or line end; `""` inside is one, and so is
    `\\"` where the file escapes in that way. Where no such end comes, the `"` is a letter. `width`, the usual number of
    cells, tells a quote that was not closed from a cell of several lines; 0 where it is not known.
    """

    def __init__(self, text: str, delimiter: str, width: int):
        self._text = text
        self._delimiter = delimiter
        self._width = width
        self._is_backslashed = '\\"' in text and bool(_BACKSLASHED.search(text))
        self._closed = _CLOSED_BACKSLASH if self._is_backslashed else _CLOSED
        end = f"[{re.escape(delimiter)}\n]" if delimiter else "\n"
        self._end = re.compile(end)
        # Lines on which every cell that begins with a quote ends with one: the csv module reads them likewise.
        cell = rf'(?:"[^"\n]*(?:""[^"\n]*)*"|(?! *=?")[^{re.escape(delimiter)}\n]*)'
        is_plain = delimiter and not self._is_backslashed
        self._sound = re.compile(rf"{cell}(?:{re.escape(delimiter)}{cell})*(?=\n|\Z)") if is_plain else None
        self._loose_end = re.compile(rf'"[ \t]*?(?={end}|\Z)|\n')
        self._no_loose_before = -1  # up to here no quote closes on its line
        self._no_closed_before = -1  # up to here a quote was found to open nothing

    def __iter__(self) -> Iterator[list[str]]:
        text = self._text
        sound = self._sound
        place = 0
        while place < len(text):
            line_end = text.find("\n", place)
            line_end = len(text) if line_end < 0 else line_end
            if text.find('"', place, line_end) < 0:
                line = text[place:line_end]
                yield line.split(self._delimiter) if self._delimiter else [line]
                place = line_end + 1
            elif sound and line_end - place < MAX_CHARACTERS_FOR_CSV and sound.match(text, place):
                (row,) = csv.reader((text[place:line_end],), delimiter=self._delimiter)
                yield row
                place = line_end + 1
            else:
                row, place = self._row(place, line_end)
                yield row

    def _row(self, place: int, line_end: int) -> tuple[list[str], int]:
        """The cells of the row that begins at a place, and where the next one begins."""
        text = self._text
        cells: list[str] = []
        while True:
            cell, end = self._quoted(place, len(cells)) or self._unquoted(place)
            cells.append(cell)
            if end >= len(text) or text[end] == "\n":
                return cells, end + 1
            place = end + 1

    def _unquoted(self, place: int) -> tuple[str, int]:
        found = self._end.search(self._text, place)
        end = found.start() if found else len(self._text)
        return self._text[place:end], end

    def _quoted(self, place: int, n_before: int) -> tuple[str, int] | None:
        """The value of a quoted cell and where it ends; None where the cell is none."""
        text = self._text
        start = place
        while text.startswith(" ", start):
            start += 1
        opening = start + 1 if text.startswith('="', start) else start
        if not text.startswith('"', opening):
            return None
        return self._strictly(start, n_before) or self._loosely(start, opening)

    def _strictly(self, start: int, n_before: int) -> tuple[str, int] | None:
        text = self._text
        if text.startswith('""', start) and (start + 2 == len(text) or self._end.match(text, start + 2)):
            return "", start + 2
        if start < self._no_closed_before:
            return None
        found = self._closed.match(text, start)
        if found is None:
            self._no_closed_before = len(text)
            return None
        end = found.end()
        if self._delimiter == "\t":  # no blank, but the end of the cell
            end = found.end(2) + 1
        is_ended = end >= len(text) or self._end.match(text, end)
        if not is_ended or ("\n" in found[2] and self._swallows(found, n_before, end)):
            self._no_closed_before = end  # a quote in between would end at the same place
            return None
        return self._value(found[2]), end

    def _loosely(self, start: int, opening: int) -> tuple[str, int] | None:
        """A quoted cell with single quotes inside: it must end on its line."""
        if start < self._no_loose_before:
            return None
        found = self._loose_end.search(self._text, opening + 1)
        if found is None or found[0] == "\n":
            self._no_loose_before = found.start() if found else len(self._text)
            return None
        return self._value(self._text[opening + 1 : found.start()]), found.end()

    def _value(self, inside: str) -> str:
        inside = inside.replace('""', '"')
        return inside.replace('\\"', '"') if self._is_backslashed else inside

    def _swallows(self, found: re.Match[str], n_before: int, end: int) -> bool:
        """Whether a quote ran over rows: its first line is a full row by itself, and what it ends in is none."""
        if self._width < 2 or not self._delimiter:
            return False
        first, *inner = found[2].split("\n")[:-1]
        n_alone = n_before + 1 + first.count(self._delimiter)
        if n_alone != self._width:
            return False
        line_end = self._text.find("\n", end)
        rest = self._text[end : line_end if line_end >= 0 else len(self._text)]
        n_together = n_before + 1 + rest.count(self._delimiter)
        full = sum(line.count(self._delimiter) == self._width - 1 for line in inner)
        return n_together != self._width or (len(inner) > 0 and full == len(inner))
