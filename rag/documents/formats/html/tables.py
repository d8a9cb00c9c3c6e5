"""Tables of a page: which are tables and which only place things, and the rows of those that are."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from rag.documents.document import TextBuilder
from rag.documents.formats.html.text import lines_of
from rag.documents.formats.html.tree import HEADINGS, Events, Node

MAX_REPEATED_CHARACTERS = 200
"""A cell that spans rows or columns stands in each of them, unless it is longer: then it stands once."""

MAX_SPAN = 1_000
"""So many columns a cell may span, as in browsers."""

MAX_HEADER_ROWS = 3
_LONG_CELL_CHARACTERS = 1_500
_ROUND_ROWS = {"form", "colgroup", "col", "div", "center"}
_PARTS = {"thead", "tbody", "tfoot"}
_LAYOUT_INSIDE = {*HEADINGS, "pre", "hr", "table", "article", "section", "main", "form"}


_Place = tuple[int, int, str]  # a cell's first column, the column after its last, its text


@dataclass(slots=True)
class _Row:
    """A row's cells; `group` is the number of the part of the table that it stands in, which no rowspan leaves."""

    cells: list[Node] = field(default_factory=list)
    group: int = 0
    in_head: bool = False


@dataclass(slots=True)
class _Table:
    """What a table element holds by itself, without the tables inside it."""

    node: Node
    rows: list[_Row] = field(default_factory=list)
    foot: list[_Row] = field(default_factory=list)
    head: list[_Row] = field(default_factory=list)
    captions: list[Node] = field(default_factory=list)
    loose: list[Node | str] = field(default_factory=list)

    def ordered(self) -> list[_Row]:
        """The rows as they are shown: the head first and the foot last, wherever the page has them."""
        return [*self.head, *self.rows, *self.foot]

    def cells(self) -> list[Node]:
        """The cells of all rows."""
        return [cell for row in self.ordered() for cell in row.cells]


def add_table(builder: TextBuilder, node: Node) -> bool:
    """Append a table to a text, its caption above it; returns False for one that only places things.

    A cell that spans rows or columns stands in each of them, one over the whole width once. What stands in the table
    but in no cell comes before it; a table inside one of its cells comes after it.
    """
    tables = [_gather(node)]
    if not _is_data(tables[0]):
        return False
    while tables:
        table = tables.pop()
        inner = [each for cell in table.cells() for each in _tables_in(cell)]
        for each in inner:
            each.node.dropped = "read for itself"
        _add(builder, table)
        for each in inner:
            each.node.dropped = ""
        tables += reversed(inner)
    return True


def _add(builder: TextBuilder, table: _Table) -> None:
    for caption in table.captions:
        builder.add("text", " ".join(lines_of(caption)))
    for loose in table.loose:
        builder.add("text", loose if isinstance(loose, str) else " ".join(lines_of(loose)))
    rows = table.ordered()
    shown = [(row, cells) for row, cells in zip(rows, _filled(rows), strict=True) if row.cells and any(cells)]
    header = _n_header_rows([row for row, _ in shown])
    builder.add("table", "\n".join(" | ".join(cells) for _, cells in shown), header=header)


def _gather(node: Node) -> _Table:
    """The rows, captions and loose text of a table; a row may stand in a form, a cell without a row makes one."""
    table = _Table(node)
    target = table.rows
    current: _Row | None = None
    n_groups = 0
    in_head = False
    events = Events(node)
    for kind, child, text in events:
        if kind == "text":
            if text.strip():
                table.loose.append(" ".join(text.split()))
            continue
        if child.dropped:
            continue
        if child.tag in _PARTS:
            n_groups += 1
            in_head = kind == "open" and child.tag == "thead"
            place = {"thead": table.head, "tfoot": table.foot}.get(child.tag, table.rows)
            target = place if kind == "open" else table.rows
            current = None
        elif child.tag == "tr":
            current = _Row(group=n_groups, in_head=in_head) if kind == "open" else None
            if current is not None:
                target.append(current)
        elif kind == "open" and child.tag in ("td", "th"):
            events.skip()
            if current is None:
                current = _Row(group=n_groups, in_head=in_head)
                target.append(current)
            current.cells.append(child)
        elif kind == "open" and child.tag == "caption":
            events.skip()
            table.captions.append(child)
        elif kind == "open" and child.is_block and child.tag not in _ROUND_ROWS:
            events.skip()
            table.loose.append(child)
    return table


def _is_data(table: _Table) -> bool:
    """Whether a table says something by its rows: it names a head, or has rows of short cells and no parts of a page.

    A table is layout that calls itself so, that has a single cell, or whose cells without a head hold headings,
    preformatted text, tables or long text.
    """
    cells = table.cells()
    if table.node.get("role") in ("presentation", "none") or len(cells) < 2:
        return False
    if table.captions or any(cell.tag == "th" for cell in cells) or any(row.cells for row in table.head):
        return True
    if sum(bool(row.cells) for row in table.ordered()) < 2 or any(cell.size > _LONG_CELL_CHARACTERS for cell in cells):
        return False
    return not any(_holds_parts_of_a_page(cell) for cell in cells)


def _holds_parts_of_a_page(cell: Node) -> bool:
    opened = (child for kind, child, _ in Events(cell) if kind == "open" and not child.dropped)
    return any(child.tag in _LAYOUT_INSIDE for child in opened)


def _tables_in(cell: Node) -> list[_Table]:
    """The tables in a cell that say something by their rows; text that a layout table places stays in the cell."""
    found = []
    events = Events(cell)
    for kind, child, _ in events:
        if kind == "open" and child.tag == "table" and not child.dropped:
            table = _gather(child)
            if _is_data(table):
                found.append(table)
                events.skip()
    return found


def _n_header_rows(rows: list[_Row]) -> int:
    """How many of a table's first rows name its columns; none where each row begins with a name of its own."""
    if len(rows) < 2:
        return 0
    n = 0
    while n < min(len(rows) - 1, MAX_HEADER_ROWS) and _names_columns(rows[n]):
        n += 1
    if n and all(len(row.cells) == 1 for row in rows[:n]) and len(rows[n].cells) > 1 and len(rows) > n + 1:
        return n + 1  # a title stands over the names
    if n == 0:
        n_named = sum(row.cells[0].tag == "th" and len(row.cells) > 1 for row in rows)
        return 0 if 2 * n_named > len(rows) else 1
    return n


def _names_columns(row: _Row) -> bool:
    names = [cell.tag == "th" for cell in row.cells if cell.size]
    return row.in_head or (bool(names) and all(names))


def _filled(rows: list[_Row]) -> list[list[str]]:
    """The text of each row's columns. A column that no cell begins in is not there, however far cells span."""
    placed = _placed(rows)
    starts = sorted({start for row in placed for start, _, _ in row})
    budget = _budget(rows)
    filled: list[list[str]] = []
    for row in placed:
        cells: list[str] = []
        for start, end, text in row:
            first = bisect.bisect_left(starts, start)
            n_gap = min(max(first - len(cells), 0), budget)
            n_repeated = min(max(bisect.bisect_left(starts, end) - first - 1, 0), budget - n_gap)
            budget -= n_gap + n_repeated
            is_once = len(row) == 1 or len(text) > MAX_REPEATED_CHARACTERS
            cells += [*[""] * n_gap, text, *["" if is_once else text] * n_repeated]
        while cells and not cells[-1]:
            cells.pop()
        filled.append(cells)
    return filled


def _budget(rows: list[_Row]) -> int:
    """How many cells may be filled besides those that are there, so that no table grows far beyond its page."""
    return 4 * sum(len(row.cells) for row in rows) + 10_000


def _placed(rows: list[_Row]) -> list[list[_Place]]:
    """Each row's cells at their columns, with those that hang down from rows above."""
    placed: list[list[_Place]] = []
    hanging: list[tuple[_Place, int]] = []  # in the order of columns, with the rows still to come
    rows_left = _rows_left(rows)
    budget = _budget(rows)
    for n, row in enumerate(rows):
        budget -= len(hanging)
        if budget < 0 or (n and rows[n - 1].group != row.group):
            hanging = []
        line: list[_Place] = []
        below: list[tuple[_Place, int]] = [(place, left - 1) for place, left in hanging if left > 1]
        column = n_passed = 0
        for cell in row.cells:
            while n_passed < len(hanging) and hanging[n_passed][0][0] <= column:
                column = max(column, hanging[n_passed][0][1])
                n_passed += 1
            width = _span(cell, "colspan", MAX_SPAN)
            if n_passed < len(hanging):
                width = min(width, hanging[n_passed][0][0] - column)
            text = " ".join(lines_of(cell))
            line.append((column, column + width, text))
            if (height := _span(cell, "rowspan", rows_left[n])) > 1:
                repeated = text if len(text) <= MAX_REPEATED_CHARACTERS else ""
                below.append(((column, column + width, repeated), height - 1))
            column += width
        placed.append(sorted([*line, *(place for place, _ in hanging)]))
        hanging = sorted(below)
    return placed


def _rows_left(rows: list[_Row]) -> list[int]:
    """For each row how many rows of its part of the table there are from it on."""
    left: list[int] = []
    for n in range(len(rows) - 1, -1, -1):
        goes_on = n + 1 < len(rows) and rows[n + 1].group == rows[n].group
        left.append(left[-1] + 1 if goes_on else 1)
    return left[::-1]


def _span(cell: Node, name: str, most: int) -> int:
    """How many rows or columns a cell spans: 1 where that is no number, all that are left for a rowspan of 0."""
    value = cell.get(name).strip()
    if not (value.isascii() and value.isdigit()):
        return 1
    n = int(value[:6])
    return min(n, most) if n else most if name == "rowspan" else 1
