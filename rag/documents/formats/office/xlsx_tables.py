"""A sheet's cells as tables: empty rows end one, titles above a header are text, merged cells are filled downwards."""

from __future__ import annotations

import bisect
import itertools
import statistics
from dataclasses import dataclass

from rag.documents.formats.office.drawings import Item
from rag.documents.formats.office.xlsx_cells import Cell, Range, Sheet

_MOST_FILLED = 500_000  # cells that are filled from merged ones
_ROWS_LOOKED_AT = 50
_MOST_HEADER_ROWS = 3
_SHORT = 40  # characters; the first line of a single column is its name only where it is so short

Row = dict[int, Cell]


@dataclass(slots=True)
class _Table:
    rows: list[Row]
    header: int
    columns: set[int]


def sheet_items(sheet: Sheet) -> list[Item]:
    """The tables of a sheet and the texts around them, from the top down."""
    spans = _fill(sheet)
    done: list[Item | _Table] = []
    block: list[int] = []
    for row in [*sorted(sheet.rows), None]:
        is_new = row is not None and block and (row > block[-1] + 1 or (row in sheet.headers and len(block) > 1))
        if block and (row is None or (is_new and not _is_title(sheet, block, row))):
            for columns in _side_by_side(sheet, block):
                part = {at: {n: cell for n, cell in sheet.rows[at].items() if n in columns} for at in block}
                _read({at: cells for at, cells in part.items() if cells}, sheet.headers, spans, done)
            block = []
        if row is not None:
            block.append(row)
    return [_item(each) if isinstance(each, _Table) else each for each in done]


def _is_title(sheet: Sheet, block: list[int], row: int) -> bool:
    """Whether the rows so far are titles right above a header that the file names."""
    return row in sheet.headers and row == block[-1] + 1 and not sheet.headers.intersection(block)


def _fill(sheet: Sheet) -> dict[int, dict[int, Range]]:
    """Write what is merged downwards into each of its rows; returns what is merged by row and column of its start."""
    places = sorted(sheet.rows)
    spans: dict[int, dict[int, Range]] = {}
    left = _MOST_FILLED
    for area in sheet.merged:
        first, column, last, _ = area
        cell = sheet.rows.get(first, {}).get(column)
        if cell is None:
            continue
        spans.setdefault(first, {})[column] = area
        start, end = bisect.bisect_right(places, first), bisect.bisect_right(places, last)
        for n in range(start, min(end, start + left)):
            sheet.rows[places[n]].setdefault(column, cell)
        left -= min(max(end - start, 0), left)
    return spans


def _width(row: Row, spans: dict[int, Range]) -> int:
    """The columns that a row fills; a cell that is merged across counts for all of its columns, save one alone."""
    if len(row) < 2:
        return len(row)
    return sum(spans[at][3] - spans[at][1] + 1 if at in spans else 1 for at in row)


def _side_by_side(sheet: Sheet, block: list[int]) -> list[set[int]]:
    """The columns of each table of a block: more than one where an empty column parts tables of different rows."""
    filled: dict[int, set[int]] = {}
    for at in block:
        for column in sheet.rows[at] if len(sheet.rows[at]) > 1 else ():
            filled.setdefault(column, set()).add(at)
    places = sorted(filled)
    parts: list[set[int]] = []
    for before, column in itertools.pairwise([-1, *places]):
        if column == before + 1 and parts:
            parts[-1].add(column)
        else:
            parts.append({column})
    rows = [set().union(*(filled[column] for column in part)) for part in parts]
    is_apart = all(
        len(part) > 1 and len(here & rows[0]) < 0.8 * max(len(here), len(rows[0]))
        for part, here in zip(parts[1:], rows[1:], strict=True)
    )
    if len(parts) < 2 or not is_apart or len(parts[0]) < 2:
        return [set().union(*(sheet.rows[at] for at in block))]
    parts[0] |= set().union(*(sheet.rows[at] for at in block)).difference(*parts)
    return parts


def _read(
    block: dict[int, Row], headers: set[int], spans: dict[int, dict[int, Range]], done: list[Item | _Table]
) -> None:
    """Append rows that follow each other: as a table below its titles, or to the table before it."""
    rows = list(block.values())
    known = next((n for n, at in enumerate(block) if at in headers), None)
    before = done[-1] if done and isinstance(done[-1], _Table) else None
    if known is None and before is not None and _goes_on(before, rows):
        before.rows += rows  # with no column of their own
        return
    widths = [_width(row, spans.get(at, {})) for at, row in block.items()]
    first = _header_row(widths) if known is None else known
    if first:
        lines = [" ".join(row[at].text for at in sorted(row)) for row in rows[:first]]
        done.append(Item("text", "\n".join(lines)))
    rows = rows[first:]
    columns: set[int] = set().union(*rows)
    if max(widths) > 1:
        start = list(block)[first]
        done.append(_Table(rows, _header_rows(start, rows, spans.get(start, {})), columns))
        return
    top = next(iter(rows[0].values())).text
    done.append(_Table(rows, int(len(top) <= _SHORT), columns) if len(rows) > 1 else Item("text", top))


def _header_row(widths: list[int]) -> int:
    """The first row of a block that is as wide as a header must be."""
    usual = statistics.median(widths[:_ROWS_LOOKED_AT])
    wanted = max(2, 0.6 * max(usual, statistics.median(widths[1:_ROWS_LOOKED_AT] or [0])))
    return next((n for n, width in enumerate(widths[:_ROWS_LOOKED_AT]) if width >= wanted), 0)


def _header_rows(first: int, rows: list[Row], spans: dict[int, Range]) -> int:
    """How many rows name the columns: more than one where the first is merged downwards, or across over groups.

    None where the first row holds numbers alone, unless they may be years.
    """
    if not any(cell.is_text for cell in rows[0].values()) and not all(map(_is_year, rows[0].values())):
        return 0
    down = max((area[2] - first + 1 for area in spans.values()), default=1)
    groups = 2 if any(area[3] > area[1] for area in spans.values()) else 1
    n = min(max(down, groups), _MOST_HEADER_ROWS)
    return n if len(rows) > n else 1


def _is_year(cell: Cell) -> bool:
    return cell.text.isdigit() and 1800 <= int(cell.text[:5]) <= 2200


def _goes_on(before: _Table, rows: list[Row]) -> bool:
    """Whether rows behind an empty one belong to the table above: they bring no columns and no header of their own."""
    columns = set().union(*rows)
    if len(columns) < 2 or not columns <= before.columns:
        return False
    top = rows[0]
    if len(top) < 2 or not all(cell.is_text for cell in top.values()) or len(rows) < 2:
        return len(top) > 1
    return not any(at in top and not cell.is_text for row in rows[1:_ROWS_LOOKED_AT] for at, cell in row.items())


def _item(table: _Table) -> Item:
    """The table without its empty columns; where few cells are filled, without any empty cell."""
    columns = sorted(table.columns)
    n_cells = sum(map(len, table.rows))
    is_sparse = len(columns) * len(table.rows) > 50 * n_cells + 100_000
    lines = []
    for row in table.rows:
        if is_sparse or list(row) == columns[:1]:
            lines.append(tuple(row[at].text for at in sorted(row)))
        else:
            lines.append(tuple(row[at].text if at in row else "" for at in columns))
    return Item("table", rows=tuple(lines), header=table.header)
