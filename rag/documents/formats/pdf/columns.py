"""Tables of a PDF's page that no lines rule: rows of short pieces of text that stand in columns.

Prose in columns is none, nor are lists. Where in doubt the text stays as it is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag.documents.formats.pdf.glyphs import Glyphs, Table, Word
from rag.documents.formats.pdf.tables import is_number, is_set_apart, text_of
from rag.documents.formats.pdf.view import Box

_GAP = 0.9  # heights of a line between two cells
_LEAST_LEADING = 0.75  # heights from one row to the next, at least
_MAX_COLUMNS = 60
_LEADING = 2.3  # heights from one row to the next, at most
_WIDE_LEADING = 3.5  # the same, between rows of as many pieces, three at least
_LONG_LINE = 30  # characters; lines of this length that follow one another are prose
_LONG_CELL = 22  # characters on average: where most columns have more, they are prose
_LEAST_FILLED = 0.55  # of a table's cells
_LEAST_ALIGNED = 0.6  # of a column's cells
LEADER = re.compile(r"(?:\.\s?){5}|(?:…\s?){2}|_{5}")
_MARKER = re.compile(r"[•·▪◦‣–—*o-]|[\[(]?\w{1,5}[\])]|(?:\d{1,3}|[a-z]|[ivx]{1,5})[.)]|\d{1,3}(?:\.\d{1,3})*\.?", re.I)


@dataclass(slots=True)
class Segment:
    """A piece of a line without a wide space in it."""

    words: list[Word]
    box: Box
    line: int
    n_visible: int
    is_typewritten: bool

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def middle(self) -> float:
        return (self.box[1] + self.box[3]) / 2


@dataclass(slots=True)
class _Columns:
    """A table that grows: its rows, and from where to where each column's pieces reach."""

    rows: list[list[Segment]] = field(default_factory=list)
    reaches: list[tuple[float, float]] = field(default_factory=list)

    def with_row(self, row: Sequence[Segment]) -> list[tuple[float, float]] | None:
        """The columns with those of a row; None where the row does not fit into them."""
        reaches = list(self.reaches)
        taken: set[int] = set()
        for segment in row:
            left, right = segment.box[0], segment.box[2]
            margin = 0.2 * segment.height
            met = [n for n, (low, high) in enumerate(reaches) if left < high + margin and right > low - margin]
            if len(met) > 1 or (met and met[0] in taken):
                return None
            if met:
                low, high = reaches[met[0]]
                reaches[met[0]] = (min(low, left), max(high, right))
                taken.add(met[0])
                continue
            place = sum(high <= left for _, high in reaches)
            reaches.insert(place, (left, right))
            taken = {n + (n >= place) for n in taken} | {place}
        return reaches

    def column(self, segment: Segment) -> int:
        """The column that a piece stands in."""
        middle = (segment.box[0] + segment.box[2]) / 2
        return min(range(len(self.reaches)), key=lambda n: _distance(self.reaches[n], middle))


def aligned_tables(glyphs: Glyphs, lines: Sequence[Sequence[Word]]) -> list[tuple[Table, list[Word]]]:
    """The tables among the words of lines, and the words that each holds."""
    segments = _without_prose(_segments(glyphs, lines))
    return [
        (_table(columns, glyphs), [word for row in columns.rows for segment in row for word in segment.words])
        for columns in _blocks(_rows(segments))
        if _is_table(columns, glyphs)
    ]


def _segments(glyphs: Glyphs, lines: Sequence[Sequence[Word]]) -> list[Segment]:
    """The pieces of every line; lines of a table of contents, filled with dots, are left as they are."""
    segments: list[Segment] = []
    for number, words in enumerate(lines):
        if not words or LEADER.search(glyphs.text[words[0].start : words[-1].end]):
            continue
        is_typewritten = glyphs.font(words[0].start)[1]
        current: Segment | None = None
        for word in words:
            box = word.box
            if current is not None and _goes_on(current.box, box):
                a, b, c, d = current.box
                current.words.append(word)
                current.box = (min(a, box[0]), min(b, box[1]), max(c, box[2]), max(d, box[3]))
                current.n_visible += word.end - word.start
            else:
                current = Segment([word], box, number, word.end - word.start, is_typewritten)
                segments.append(current)
    return segments


def _goes_on(before: Box, box: Box) -> bool:
    height = max(before[3] - before[1], 1.0)
    is_level = abs((before[1] + before[3]) - (box[1] + box[3])) <= height
    return is_level and -height < box[0] - before[2] <= _GAP * min(height, max(box[3] - box[1], 1.0))


def _without_prose(segments: list[Segment]) -> list[Segment]:
    """The pieces without long lines that follow one another at the same margin."""
    kept = []
    n_of_line: dict[int, int] = {}
    for segment in segments:
        n_of_line[segment.line] = n_of_line.get(segment.line, 0) + 1
    for n, segment in enumerate(segments):
        if segment.n_visible > _LONG_LINE and n_of_line[segment.line] == 1:
            around = segments[max(n - 1, 0) : n] + segments[n + 1 : n + 2]
            if any(_is_next_line(segment, other) and n_of_line[other.line] == 1 for other in around):
                continue
        kept.append(segment)
    return kept


def _is_next_line(segment: Segment, other: Segment) -> bool:
    apart = abs(segment.middle - other.middle)
    return abs(segment.box[0] - other.box[0]) < 2 * segment.height and 0.5 * segment.height < apart < 2 * segment.height


def _rows(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The pieces side by side, from top to bottom, each row from left to right."""
    rows: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda each: each.middle):
        if rows and segment.middle - rows[-1][0].middle < 0.45 * min(segment.height, rows[-1][0].height):
            rows[-1].append(segment)
        else:
            rows.append([segment])
    return [sorted(row, key=lambda each: each.box[0]) for row in rows]


def _blocks(rows: Sequence[list[Segment]]) -> list[_Columns]:
    """Rows that follow one another closely and fit into the same columns, at least two in a row."""
    blocks: list[_Columns] = []
    current: _Columns | None = None
    for row in rows:
        if len(row) > _MAX_COLUMNS:
            row = row[:1]  # a drawing
        if current is not None:
            last = current.rows[-1][0]
            leading = _WIDE_LEADING if len(row) == len(current.rows[-1]) > 2 else _LEADING
            is_near = row[0].middle - last.middle <= leading * max(last.height, row[0].height)
            reaches = current.with_row(row) if is_near else None
            if reaches is not None and (len(row) > 1 or _hangs(current, row[0])):
                current.rows.append(row)
                current.reaches = reaches
                continue
            blocks.append(current)
            current = None
        if len(row) > 1:
            current = _Columns([row], [(segment.box[0], segment.box[2]) for segment in row])
    return [*blocks, *([current] if current is not None else [])]


def _hangs(columns: _Columns, segment: Segment) -> bool:
    """Whether a piece alone in its row stands in a column that is there, and below a cell of it."""
    column = columns.column(segment)
    low, high = columns.reaches[column]
    return (
        segment.box[0] >= low - segment.height
        and segment.box[2] <= high + 4 * segment.height
        and (column > 0 or segment.n_visible <= _LONG_LINE)
    )


def _is_table(columns: _Columns, glyphs: Glyphs) -> bool:
    """Whether rows in columns are a table: filled, aligned, and neither prose side by side nor a list."""
    n_columns = len(columns.reaches)
    while columns.rows and len(columns.rows[-1]) == 1 and columns.column(columns.rows[-1][0]) == 0:
        columns.rows.pop()  # what follows at the left margin
    if any(
        below[0].middle - above[0].middle < _LEAST_LEADING * min(below[0].height, above[0].height)
        for above, below in itertools.pairwise(columns.rows)
    ):
        return False  # a formula
    several = [row for row in columns.rows if len(row) > 1]
    if n_columns < 2 or len(several) < (2 if n_columns > 2 else 3):
        return False
    by_column: list[list[Segment]] = [[] for _ in range(n_columns)]
    for row in several:
        for segment in row:
            by_column[columns.column(segment)].append(segment)
    if sum(map(len, by_column)) < _LEAST_FILLED * n_columns * len(several):
        return False
    averages = [sum(each.n_visible for each in column) / max(len(column), 1) for column in by_column]
    if sum(average > _LONG_CELL for average in averages) > n_columns / 2:
        return False
    if n_columns == 2 and all(_MARKER.fullmatch(text_of(glyphs, each.words)) for each in by_column[0]):
        return all(is_number(text_of(glyphs, each.words)) for each in by_column[1])
    if any(segment.is_typewritten for row in several for segment in row) and not _is_printout(
        several, by_column, glyphs
    ):
        return False
    if sum(_is_aligned(column) for column in by_column) < max(n_columns - 1, 2) - (n_columns > 4):
        return False
    return _reads_by_rows(several) or _has_numbers(by_column, glyphs)


def _is_printout(rows: Sequence[Sequence[Segment]], by_column: Sequence[Sequence[Segment]], glyphs: Glyphs) -> bool:
    """Whether typewritten text is a table with numbers, not code with spaces in it."""
    if len(by_column) < 3 or len(rows) < 3 or sum(map(len, by_column)) < 0.8 * len(by_column) * len(rows):
        return False
    return _has_numbers(by_column[1:], glyphs)


def _is_aligned(column: Sequence[Segment]) -> bool:
    """Whether most pieces of a column begin, end or have their middle at the same place."""
    if not column:
        return False
    for place in (lambda b: b[0], lambda b: b[2], lambda b: (b[0] + b[2]) / 2):
        values = sorted(place(segment.box) for segment in column)
        tolerance = 0.35 * column[0].height
        middle = values[len(values) // 2]
        if sum(abs(value - middle) <= tolerance for value in values) >= _LEAST_ALIGNED * len(values):
            return True
    return False


def _reads_by_rows(rows: Sequence[Sequence[Segment]]) -> bool:
    """Whether the file writes row after row, not column after column."""
    firsts = [min(row, key=lambda each: each.words[0].start).words[0].start for row in rows]
    lasts = [max(row, key=lambda each: each.words[0].start).words[0].start for row in rows]
    n_in_order = sum(last < first for last, first in zip(lasts, firsts[1:], strict=False))
    return n_in_order >= 0.7 * (len(rows) - 1)


def _has_numbers(by_column: Sequence[Sequence[Segment]], glyphs: Glyphs) -> bool:
    """Whether a column holds numbers, or there are many columns of short pieces."""
    for column in by_column:
        texts = [text_of(glyphs, segment.words) for segment in column]
        if sum(map(is_number, texts)) > len(texts) / 2:
            return True
    return len(by_column) > 2 and all(each.n_visible <= _LONG_CELL for column in by_column for each in column)


def _table(columns: _Columns, glyphs: Glyphs) -> Table:
    """The rows of cells; a row that only goes on with the one above is a part of it."""
    rows: list[list[list[Word]]] = []
    above: list[Segment] = []
    for row in columns.rows:
        places = {columns.column(segment): segment for segment in row}
        if rows and _continues(glyphs, columns, places, above):
            for column, segment in places.items():
                rows[-1][column] += segment.words
        else:
            rows.append([list(places[n].words) if n in places else [] for n in range(len(columns.reaches))])
        above = row
    boxes = [segment.box for row in columns.rows for segment in row]
    box = (min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))
    edges = (*(low for low, _ in columns.reaches), columns.reaches[-1][1])
    apart = is_set_apart(glyphs, rows[0], rows[1] if len(rows) > 1 else [])
    return Table([[text_of(glyphs, cell) for cell in row] for row in rows], box, edges, is_set_apart=apart)


def _continues(glyphs: Glyphs, columns: _Columns, places: dict[int, Segment], above: Sequence[Segment]) -> bool:
    """Whether a row goes on with the one above: its first cell is empty, and what it has did not fit above."""
    if 0 in places:
        return False
    before = {columns.column(segment): segment for segment in above}
    for column, segment in places.items():
        if column not in before:
            return False
        room = columns.reaches[column][1] - before[column].box[2]
        if room > 0.35 * (columns.reaches[column][1] - columns.reaches[column][0]) + segment.height:
            return False
        if segment.n_visible < 2 or is_number(text_of(glyphs, segment.words)):
            return False
    return True


def _distance(reach: tuple[float, float], x: float) -> float:
    return max(reach[0] - x, x - reach[1], 0.0)
