"""Tables of a PDF's page that ruling lines show: characters go to the cells that they stand in, each to one."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from rag.documents.formats.pdf.glyphs import Glyphs, Table, Word, plain
from rag.documents.formats.pdf.rules import Grid
from rag.documents.formats.pdf.view import Box

_LEAST_FILLED = 0.2  # of a grid's cells; a drawing over squared paper has fewer
_LEAST_ROWS_BETWEEN_RULES = 3  # rows of a table that is ruled around and between columns alone
_MOST_LOOKS = 3_000_000  # at the lines of a grid
_LONGEST_REPEATED = 200  # characters of a cell that spans rows
_LONGEST_NAME = 80  # characters of a cell that names a column
_FEW_RULES = 4  # lines across: those around a table and below its header
_LONGEST_SHORT_CELL = 25  # characters
_NUMBER = re.compile(r"[-+−–(]?[^\w\s]?\s?\d[\d.,'’\s]*\s?[%\w€$£]{0,3}\)?")
_YEAR = re.compile(r"(?:19|20)\d\d")


def ruled_table(grid: Grid, glyphs: Glyphs, words: Sequence[Word]) -> tuple[Table, list[Word]] | None:
    """The table in a grid and the words that it holds; None where the grid is no table."""
    if len(grid.xs) * len(grid.ys) * (len(grid.across) + len(grid.upright)) > _MOST_LOOKS:
        return None
    left, top, right, bottom = grid.box
    inside: list[Word] = []
    for word in words:
        if top <= _y(word.box) <= bottom and word.box[0] < right and word.box[2] > left:
            crosses = bisect_right(grid.xs, word.box[0] + 1) < bisect_left(grid.xs, word.box[2] - 1)
            pieces = [_at_its_start(each) for each in glyphs.pieces(word)] if crosses else [word]
            inside += [each for each in pieces if left <= _x(each.box) <= right]
    if not inside or len(grid.xs) < 3:
        return None
    ys = _with_rows_between(grid, inside)
    owner = _owners(grid, ys)
    cells: dict[tuple[int, int], list[Word]] = {}
    for word in inside:
        row = min(max(bisect_right(ys, _y(word.box)) - 1, 0), len(ys) - 2)
        column = min(max(bisect_right(grid.xs, _x(word.box)) - 1, 0), len(grid.xs) - 2)
        cells.setdefault(owner[row][column], []).append(word)
    texts = {place: text_of(glyphs, held) for place, held in cells.items()}
    rows_used = sorted({row for (row, _), text in texts.items() if text})
    columns_used = sorted({column for (_, column), text in texts.items() if text})
    n_owners = len({place for row in owner for place in row})
    if len(rows_used) < 2 or len(columns_used) < 2 or len(texts) < _LEAST_FILLED * n_owners:
        return None
    if sum(any((row, column) in texts for column in columns_used[1:]) for row in rows_used) < 2:
        return None
    rows = [[_filled(texts, owner[row][column], row, column) for column in columns_used] for row in rows_used]
    edges = tuple([grid.xs[column] for column in columns_used] + [right])
    first, second = ([cells.get((row, column), []) for column in columns_used] for row in rows_used[:2])
    return Table(rows, grid.box, edges, is_set_apart=is_set_apart(glyphs, first, second)), inside


def _filled(texts: dict[tuple[int, int], str], owner: tuple[int, int], row: int, column: int) -> str:
    """What a square of a grid says: a cell of several rows says its text in each, one of several columns once."""
    text = texts.get(owner, "") if owner[1] == column else ""
    return text if owner[0] == row or len(text) <= _LONGEST_REPEATED else ""


def _at_its_start(word: Word) -> Word:
    """A word that counts as standing where it begins: it runs over the border of its cell."""
    x0, y0, x1, y1 = word.box
    return Word(word.start, word.end, (x0, y0, min(x1, x0 + 0.5 * (y1 - y0)), y1))


def text_of(glyphs: Glyphs, words: Iterable[Word]) -> str:
    """The text of some words of a page, a space between them unless they follow one another without one."""
    parts: list[str] = []
    last = -1
    for word in words:
        if last >= 0 and word.start != last:
            parts.append(" ")
        parts.append(glyphs.text[word.start : word.end])
        last = word.end
    return plain("".join(parts)).strip()


def _owners(grid: Grid, ys: Sequence[float]) -> list[list[tuple[int, int]]]:
    """The cell that each square of a grid belongs to: itself, or the one left of or above it, if no line parts them."""
    owner: list[list[tuple[int, int]]] = []
    walls = [grid.walls(x) for x in grid.xs]
    for row in range(len(ys) - 1):
        y = (ys[row] + ys[row + 1]) / 2
        floors = grid.floors(ys[row]) if ys[row] in grid.ys else None  # None above a row without a line
        owner.append([])
        for column in range(len(grid.xs) - 1):
            x = (grid.xs[column] + grid.xs[column + 1]) / 2
            if column and not any(low <= y <= high for low, high in walls[column]):
                owner[row].append(owner[row][column - 1])
            elif row and floors is not None and not any(low <= x <= high for low, high in floors):
                owner[row].append(owner[row - 1][column])
            else:
                owner[row].append((row, column))
    return owner


def _with_rows_between(grid: Grid, inside: Sequence[Word]) -> list[float]:
    """The lines across, and between them the places where rows without lines part."""
    ys = [grid.ys[0]]
    for top, bottom in itertools.pairwise(grid.ys):
        columns = [
            [word for word in inside if top <= _y(word.box) <= bottom and low <= _x(word.box) <= high]
            for low, high in itertools.pairwise(grid.xs if len(grid.ys) <= _FEW_RULES else ())
        ]
        lines = [_lines(column) for column in columns if column]
        if len(lines) > 1 and _are_rows(lines):
            height = lines[0][0][3] - lines[0][0][1]
            ys += [line[1] - 0.1 * height for line in lines[0][1:]]
        ys.append(bottom)
    return ys


def _are_rows(lines: Sequence[Sequence[tuple[float, float, float, float, int]]]) -> bool:
    """Whether the short lines of a first column each begin a row that other columns have, too."""
    first = lines[0]
    if len(first) < _LEAST_ROWS_BETWEEN_RULES or sum(line[4] for line in first) > _LONGEST_SHORT_CELL * len(first):
        return False
    tolerance = 0.4 * (first[0][3] - first[0][1])
    for other in lines[1:]:
        n_level = sum(any(abs(line[3] - each[3]) <= tolerance for each in other) for line in first)
        if n_level >= 0.8 * len(first) and sum(line[4] for line in other) <= 2 * _LONGEST_SHORT_CELL * len(other):
            return True
    return False


def _lines(words: Sequence[Word]) -> list[tuple[float, float, float, float, int]]:
    """The lines that words make, from top to bottom: their boxes and numbers of characters."""
    lines: list[tuple[float, float, float, float, int]] = []
    for word in sorted(words, key=lambda each: _y(each.box)):
        x0, y0, x1, y1 = word.box
        if lines and (y0 + y1) / 2 - (lines[-1][1] + lines[-1][3]) / 2 < 0.5 * (y1 - y0):
            a, b, c, d, n = lines[-1]
            lines[-1] = (min(a, x0), b, max(c, x1), d, n + word.end - word.start)
        else:
            lines.append((x0, y0, x1, y1, word.end - word.start))
    return lines


def n_header_rows(rows: Sequence[Sequence[str]]) -> int:
    """How many of the first rows name the columns: one, unless it holds numbers where those below do; two at most.

    A second one names the columns below names that stand over several.
    """
    if len(rows) < 2 or _holds_numbers(rows[0], rows[1:]) or max(map(len, rows[0])) > _LONGEST_NAME:
        return 0
    is_parted = "" in [cell.strip() for cell in rows[0][1:]]
    if len(rows) > 3 and is_parted and not any(is_number(cell) for cell in rows[1]):
        return 2 if any(is_number(cell) for row in rows[2:] for cell in row) else 1
    return 1


def _holds_numbers(row: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Whether a row holds a number in a column where most others do; years name columns."""
    for column, cell in enumerate(row):
        if is_number(cell) and not _YEAR.fullmatch(cell.strip()):
            below = [other[column] for other in others if column < len(other) and other[column].strip()]
            if below and sum(map(is_number, below)) > len(below) / 2:
                return True
    return False


def is_set_apart(glyphs: Glyphs, first: Sequence[Sequence[Word]], second: Sequence[Sequence[Word]]) -> bool:
    """Whether the words of a first row are set in fonts that the second does not have."""
    fonts = {glyphs.font(cell[0].start)[0] for cell in first if cell}
    return bool(fonts) and not fonts & {glyphs.font(cell[0].start)[0] for cell in second if cell}


def surely_names(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a first row is sure to name the columns: one of them holds numbers, and it holds none there."""
    for column, cell in enumerate(rows[0]):
        below = [row[column] for row in rows[1:] if column < len(row) and row[column].strip()]
        if cell.strip() and not is_number(cell) and below and sum(map(is_number, below)) > len(below) / 2:
            return True
    return False


def is_number(text: str) -> bool:
    """Whether a cell holds a number, with its unit perhaps."""
    return bool(_NUMBER.fullmatch(text.strip()))


def _x(box: Box) -> float:
    return (box[0] + box[2]) / 2


def _y(box: Box) -> float:
    return (box[1] + box[3]) / 2
