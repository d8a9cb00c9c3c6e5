"""A PDF's page as lines and tables, in the order of the file."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Sequence

from rag.documents.formats.pdf.columns import LEADER, aligned_tables
from rag.documents.formats.pdf.forms import Field, fill
from rag.documents.formats.pdf.glyphs import Glyphs, Item, Line, Table, Word, line_of, read_glyphs
from rag.documents.formats.pdf.rules import Grid, grids_of, read_rules
from rag.documents.formats.pdf.tables import ruled_table
from rag.documents.formats.pdf.view import Box, View

_GAP = 0.9  # heights of a line between two cells
_WIDE_SPACE = 1.0  # heights of a line
_USUAL_WIDTH = 0.45  # of a character, in heights of its line
_SHORT = 25  # characters
_LEADING = 4.0  # heights from one row of a table to the next, at most
_NUMBERS = re.compile(r"(?<!\S)[-+($€£]{0,2}\d[\d.,:%/-]*")
_MAX_CHARACTERS = 100_000  # of a page that is looked at more closely


def read_items(page, text_page, view: View, fields: list[Field]) -> list[Item]:
    """The lines and tables of a page of pypdfium2, with what is filled into its form. Nothing is lost or read twice.

    Each character's place is asked for only where something looks like a table: that takes longer than all the rest.
    """
    glyphs = read_glyphs(text_page, view).with_rows_apart()
    grids = [grid for grid in grids_of(read_rules(page, view)) if len(grid.xs) > 2]
    if fields:
        fill(glyphs, fields, [grid.box for grid in grids if len(grid.ys) > 2])
    lines = [(line, span) for span in glyphs.spans() if (line := line_of(glyphs, *span)) is not None]
    if len(glyphs.text) <= _MAX_CHARACTERS and (grids or _looks_aligned(glyphs, lines)):
        items = _with_tables(glyphs, grids)
        if items is not None:
            return items
    for line, (start, end) in lines:
        line.alone = bool(fields) and -1 in glyphs.source[start:end]
        line.wide_gaps = _wide_gaps(glyphs, line, start, end)
    return [line for line, _ in lines]


def _looks_aligned(glyphs: Glyphs, lines: Sequence[tuple[Line, tuple[int, int]]]) -> bool:
    """Whether wide spaces of lines stand below one another, or short lines side by side: often no table, but cheap.

    Only lines that are longer than their characters need are looked at word by word.
    """
    known = [(line, line.box, span) for line, span in lines if line.box is not None]
    widths = [(b[2] - b[0]) / max(b[3] - b[1], 1) / len(line.text) for line, b, _ in known if len(line.text) > _SHORT]
    usual = statistics.median(widths) if len(widths) > 3 else _USUAL_WIDTH
    wide: list[tuple[Box, tuple[int, int]]] = []
    for line, box, (start, end) in known:
        height = max(box[3] - box[1], 1)
        expected = usual * height * len(line.text)
        if " " not in line.text or box[2] - box[0] - expected < max(height, 0.1 * expected):
            continue
        is_code = glyphs.font(start)[1] and len(_NUMBERS.findall(line.text)) < 2
        if not is_code and not LEADER.search(line.text):
            wide.append((box, (start, end)))
    n_alike = _n_alike(glyphs, sorted(wide, key=lambda each: each[0][1]))
    short = sorted(((box[1] + box[3]) / 2, box[3] - box[1]) for line, box, _ in known if len(line.text) <= _SHORT)
    level = [(a, height) for (a, height), (b, _) in itertools.pairwise(short) if b - a < 2]
    return n_alike >= 2 or sum(0 < b - a < _LEADING * height for (a, height), (b, _) in itertools.pairwise(level)) >= 2


def _n_alike(glyphs: Glyphs, lines: Sequence[tuple[Box, tuple[int, int]]]) -> int:
    """How many wide spaces of lines stand above one of the next line, close below."""
    found: dict[int, list[tuple[float, float]]] = {}

    def gaps(n: int) -> list[tuple[float, float]]:
        if n not in found:
            box, (start, end) = lines[n]
            pairs = itertools.pairwise(word.box for word in glyphs.words(start, end))
            found[n] = [(a[2], b[0]) for a, b in pairs if b[0] - a[2] > _GAP * max(box[3] - box[1], 1)]
        return found[n]

    n_alike = 0
    for n, ((box, _), (other, _)) in enumerate(itertools.pairwise(lines)):
        if other[1] - box[1] <= _LEADING * max(box[3] - box[1], other[3] - other[1]) and gaps(n):
            n_alike += sum(any(a < d and c < b for c, d in gaps(n + 1)) for a, b in gaps(n))
    return n_alike


def _with_tables(glyphs: Glyphs, grids: Sequence[Grid]) -> list[Item] | None:
    """The lines and tables of a page, None where there is no table."""
    width, height = glyphs.view.size
    lines = [glyphs.words(start, end) for start, end in glyphs.spans()]
    words = [word for line in lines for word in line if _is_on_page(word.box, width, height)]
    tables: list[tuple[Table, list[Word]]] = []
    taken: set[int] = set()  # numbers of characters
    for grid in sorted(grids, key=lambda each: len(each.xs) * len(each.ys), reverse=True):
        free = [word for word in words if word.start not in taken and word.end - 1 not in taken]
        if found := ruled_table(grid, glyphs, free):
            tables.append(found)
            taken |= {i for word in found[1] for i in range(word.start, word.end)}
    free_lines = [[w for w in line if w.start not in taken and _is_on_page(w.box, width, height)] for line in lines]
    tables += aligned_tables(glyphs, free_lines)
    return _in_order(glyphs, tables) if tables else None


def _is_on_page(box: Box, width: float, height: float) -> bool:
    return 0 <= (box[0] + box[2]) / 2 <= width and 0 <= (box[1] + box[3]) / 2 <= height


def _in_order(glyphs: Glyphs, tables: Sequence[tuple[Table, list[Word]]]) -> list[Item]:
    """Each table where its first character stands in the file, and the lines of what is in none."""
    table_of = {i: n for n, (_, words) in enumerate(tables) for word in words for i in range(word.start, word.end)}
    items: list[Item] = []
    written: set[int] = set()
    for start, end in glyphs.spans():
        first = start
        for i in range(start, end + 1):
            if i < end and i not in table_of:
                continue
            if i > first and (line := line_of(glyphs, first, i)) is not None:
                line.wide_gaps = _wide_gaps(glyphs, line, first, i)
                line.alone = bool(glyphs.added) and -1 in glyphs.source[first:i]
                items.append(line)
            if i in table_of and table_of[i] not in written and i < end:
                written.add(table_of[i])
                items.append(tables[table_of[i]][0])
            first = i + 1
    return items


def _wide_gaps(glyphs: Glyphs, line: Line, start: int, end: int) -> tuple[bool, bool]:
    """Whether a wide space parts a number at a line's start from the words behind it; the same at its end."""
    words = line.text.split()
    if len(words) < 2 or line.box is None:
        return False, False
    first = last = False
    if words[0].strip("-–—|·•").isdecimal():
        first = _is_wide(glyphs, range(start, end))
    if words[-1].strip("-–—|·•").isdecimal():
        last = _is_wide(glyphs, range(end - 1, start - 1, -1))
    return first, last


def _is_wide(glyphs: Glyphs, characters: range) -> bool:
    """Whether a wide space ends the word that comes first among characters, which may run backwards."""
    filled = [i for i in characters if glyphs.text[i].strip()]
    before, behind = next(((a, b) for a, b in itertools.pairwise(filled) if abs(b - a) > 1), (-1, -1))
    one, other = (glyphs.box(before), glyphs.box(behind)) if before >= 0 else (None, None)
    if one is None or other is None:
        return False
    left, right = (one, other) if one[0] < other[0] else (other, one)
    return right[0] - left[2] > _WIDE_SPACE * (left[3] - left[1])
