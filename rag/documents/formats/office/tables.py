"""Tables of Word and PowerPoint: cells in their columns, merged ones filled downwards; layout becomes paragraphs."""

from __future__ import annotations

from dataclasses import dataclass, field

from rag.documents.formats.office.drawings import Item

_MOST_COLUMNS = 63  # as many as Word makes; a cell that claims to span more spans so many
_LONG_CELL = 4  # paragraphs; a row that is a table's only one and has such a cell is two columns of text


@dataclass(slots=True)
class Cell:
    """`span` in columns; `merge` is '', 'restart' or 'continue' for a cell that is merged downwards."""

    items: list[Item]
    span: int = 1
    merge: str = ""

    @property
    def text(self) -> str:
        return "\n".join(filter(None, (item.line() for item in self.items)))


@dataclass(slots=True)
class Row:
    """A row under way; `before` is how many columns it leaves out at its beginning."""

    before: int = 0
    is_header: bool = False
    cells: list[Cell] = field(default_factory=list)


def table_items(rows: list[Row]) -> list[Item]:
    """A table as one item; one of a single column, or of a single row of long cells, as the items in its cells.

    A first row of one cell across all columns is a title above the table.
    """
    rows = [row for row in rows if row.cells]
    if not rows:
        return []
    widths = [row.before + sum(min(cell.span, _MOST_COLUMNS) for cell in row.cells) for row in rows]
    cells = [cell for row in rows for cell in row.cells]
    if all(len(row.cells) == 1 for row in rows) or (len(rows) == 1 and any(map(_is_long, cells))):
        return [item for cell in cells for item in cell.items]
    above: list[Item] = []
    while len(rows) > 1 and len(rows[0].cells) == 1 and rows[0].cells[0].merge != "restart" and not rows[0].before:
        above += rows.pop(0).cells[0].items
        widths.pop(0)
    if len(rows) == 1 or max(widths) < 2:
        return [*above, Item("table", rows=_grid(rows))]
    return [*above, Item("table", rows=_grid(rows), header=_header(rows, widths))]


def _is_long(cell: Cell) -> bool:
    return len(cell.items) >= _LONG_CELL or any(item.kind != "text" for item in cell.items)


def _header(rows: list[Row], widths: list[int]) -> int:
    """How many rows name the columns: those marked so; else one, or two where the first has groups of columns."""
    marked = next((n for n, row in enumerate(rows) if not row.is_header), 0)
    if marked:
        return marked
    has_groups = any(1 < cell.span < widths[0] for cell in rows[0].cells)
    return 2 if has_groups and len(rows) > 3 else 1


def _grid(rows: list[Row]) -> tuple[tuple[str, ...], ...]:
    """The texts by columns: one of a cell merged across once, one of a cell merged downwards in each of its rows.

    A cell that goes on with none above it is one of its own, and so is one that has a text of its own.
    """
    above: dict[int, str] = {}
    grid = []
    for row in rows:
        line = [""] * min(row.before, _MOST_COLUMNS)
        merged: dict[int, str] = {}
        for cell in row.cells:
            text = cell.text
            if cell.merge == "continue":
                text = text or above.get(len(line), "")
            if cell.merge:
                merged[len(line)] = text
            line += [text] + [""] * (min(cell.span, _MOST_COLUMNS) - 1)
        above = merged
        grid.append(tuple(line[:1] if len(row.cells) == 1 and not row.before else line))
    return tuple(grid)
