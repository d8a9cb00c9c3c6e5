"""CSV and TSV: tables whose cells are parted by a character."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from rag.documents.decode import decode_noted
from rag.documents.document import Document, TextBuilder
from rag.documents.formats.rows.cells import Rows

SAMPLE_CHARACTERS = 200_000
SAMPLE_ROWS = 500
DELIMITERS = ("\t", ";", "|", ",")  # of two that fit equally the first is taken
_LEAST_AGREEING = 0.7
_SEPARATOR_LINE = re.compile(r"\A[ \t]*\"?sep=([^\"\n])\"?[ \t]*(?:\n|\Z)", re.I)
_TITLE_LINE = re.compile(r"[^\n]*\n[ \t]*\n")  # a blank line below it
_NUMBER = re.compile(r"[-+(]?[$€£¥]?\s?\d[\d\s.,'/:%-]*[€$%)]?")
_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)]*$")
_EXCEL_TEXT = re.compile(r'="(.*)"', re.S)
MAX_HEADER_CHARACTERS = 100
MAX_TITLE_ROWS = 20


def parse_csv(data: bytes) -> Document:
    """The tables of a file: the first full row names the columns, rows above it are text before the table.

    The cells are parted by a tab, semicolon, bar or comma, whichever gives rows that agree in their number of cells, or
    by the one that Excel's `sep=` line names; where none does, a line is one cell. `"` alone quotes. Line breaks inside
    a cell become spaces; empty rows are lost, and so are repetitions of the header, which are counted in a note.
    """
    text, notes = decode_noted(data)
    if named := _SEPARATOR_LINE.match(text):
        text, delimiter = text[named.end() :], named[1]
    else:
        delimiter = find_delimiter(text)
    width = _usual_width(_sample_rows(text, delimiter)) if delimiter else 1
    builder = TextBuilder()
    n_repeated = sum(_add_table(builder, table) for table in _tables(Rows(text, delimiter, width)))
    if n_repeated:
        notes += (f"rows that repeat the header and are left out: {n_repeated}",)
    return builder.document("csv", "", notes)


def find_delimiter(text: str) -> str:
    """What parts the cells; "" where each line is one cell.

    That is the delimiter by which most rows have as many cells as the header, quoted cells taken whole.
    """
    has_title = bool(_TITLE_LINE.match(text.lstrip()))
    scores = [(_agreement(_sample_rows(text, delimiter), delimiter, has_title), delimiter) for delimiter in DELIMITERS]
    best = max(scores, key=lambda scored: scored[0])  # the first of equals
    return best[1] if best[0] >= _LEAST_AGREEING else ""


def _sample_rows(text: str, delimiter: str) -> list[list[str]]:
    """The first rows that are not blank, each as its cells."""
    part = text[:SAMPLE_CHARACTERS]
    if len(text) > SAMPLE_CHARACTERS:
        part = part[: part.rfind("\n") + 1] or part
    rows: list[list[str]] = []
    for row in Rows(part, delimiter, 0):
        if any(cell.strip() for cell in row):
            rows.append(row)
        if len(rows) == SAMPLE_ROWS:
            break
    return rows


def _usual_width(rows: list[list[str]]) -> int:
    widths = Counter(len(row) for row in rows)
    return max(widths, key=lambda width: (widths[width] * (width > 1), width), default=1)


def _agreement(rows: list[list[str]], delimiter: str, has_title: bool) -> float:
    """The share of rows that have as many cells as the header; 0 where the delimiter seems to be a letter only.

    `has_title` says that a blank row follows the first row.
    """
    width = _usual_width(rows)
    start = _header_place(rows, width)
    table = rows[start:]
    if width < 2 or len(table[0]) < 2:
        return 0.0
    header, body = table[0], table[1:]
    agreeing = (sum(len(row) == width for row in body) + 1) / len(table)
    n_split = sum(len(row) > 1 for row in table) / len(table)
    if len(header) == width and n_split >= 0.65 and (start == 0 or has_title):
        agreeing = max(agreeing, 0.75)  # ragged rows: cells left out at the end, or too many
    if start and not (body and _names_columns(header)):
        return 0.0
    if start == 1 and width == 2 and not has_title and _is_word(rows[0]) and not _names_numbers(table):
        return 0.0  # the word names the one column
    if len(header) > width:
        agreeing -= 0.25
    if delimiter != ",":
        return agreeing
    has_another = all(any(other in cell for other in DELIMITERS[:-1] for cell in row) for row in table)
    if _is_prose(table, agreeing, start > 0 or has_another):
        return 0.0
    return min(agreeing, _LEAST_AGREEING) if has_another or _has_spaces(table) else agreeing


def _has_spaces(table: list[list[str]]) -> bool:
    """Whether a space stands behind every comma."""
    return all(cell[:1] in (" ", "") for row in table for cell in row[1:])


def _is_word(row: list[str]) -> bool:
    return len(row) == 1 and len(row[0].split()) == 1


def _is_prose(table: list[list[str]], agreeing: float, is_doubtful: bool) -> bool:
    """Whether commas are those of sentences, each before a space, or of prices, each between digits.

    `is_doubtful` says that a title stands above the rows, or that another delimiter stands in each.
    """
    pairs = [pair for row in table for pair in itertools.pairwise(row)]
    if all(a[-1:].isdigit() and b[:1].isdigit() for a, b in pairs):
        fractions = {len(re.match(r"\d*", row[1])[0]) for row in table if len(row) == 2}  # type: ignore[index]
        return is_doubtful or (all(len(row) <= 2 for row in table) and fractions in ({1}, {2}))
    if not _has_spaces(table):
        return False
    if is_doubtful or agreeing < 1 or not _names_columns(table[0]):
        return True
    n_sentences = sum(bool(_SENTENCE_END.search(row[-1].rstrip())) for row in table)
    if len(table[0]) > 2 or any(_is_number(cell) for row in table for cell in row):
        return 2 * n_sentences > len(table)
    return n_sentences > 0 or len(table) < 3 or any(row[1].strip()[:1].islower() for row in table[1:])


def _names_columns(row: list[str]) -> bool:
    """Whether a row can be a header: short different words, no numbers but years, no sentence."""
    names = [cell.strip() for cell in row if cell.strip()]
    return (
        2 * len(names) >= len(row)
        and len(set(names)) == len(names)
        and all(len(name) <= MAX_HEADER_CHARACTERS for name in names)
        and not any(_is_number(name) or _SENTENCE_END.search(name) for name in names[:-1] or names)
    )


def _is_number(cell: str) -> bool:
    cell = cell.strip()
    return bool(_NUMBER.fullmatch(cell)) and not re.fullmatch(r"(?:1[89]|20)\d\d", cell)


def _tables(rows: Rows) -> Iterator[list[list[str]]]:
    """The rows in tables: another begins below a blank row where the usual number of cells changes."""
    table: list[list[str]] = []
    titles: list[list[str]] = []  # rows of one cell between blank rows: of the table below, if that is another
    width = 0  # of the table's rows; 1 as long as it has nothing but titles
    for group in _groups(rows):
        if width > 1 and all(_n_filled(row) == 1 for row in group):
            titles += group
            continue
        is_row = len(group) == 1 and len(group[0]) == width  # as where every line is followed by a blank one
        if width > 1 and not is_row and _begins_another(width, group):
            yield table
            table, width = [], 0
        table += [*titles, *group]
        titles = []
        if width <= 1 and len(table) <= MAX_TITLE_ROWS + len(group):
            width = _usual_width(group) if max(map(_n_filled, group)) > 1 else 1
    if table or titles:
        yield [*table, *titles]


def _groups(rows: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    """The rows between blank rows; their cells on one line each."""
    group: list[list[str]] = []
    for row in itertools.chain(rows, [[]]):
        cells = [_plain(cell) for cell in row]
        if any(cells):
            group.append(cells)
        elif group:
            yield group
            group = []


def _begins_another(width: int, group: list[list[str]]) -> bool:
    """Whether rows below a blank one are another table: with a header of another width, or one above their numbers."""
    own = _usual_width(group)
    table = group[_header_place(group, own) :]
    return _names_columns(table[0]) and ((own > 1 and own != width) or _names_numbers(table))


def _names_numbers(table: list[list[str]]) -> bool:
    """Whether words stand above nothing but numbers in a column."""
    header, *body = table
    columns = zip(header, *(row for row in body if len(row) == len(header)), strict=True)
    return any(len(column) > 1 and not _is_number(column[0]) and all(map(_is_number, column[1:])) for column in columns)


def _plain(cell: str) -> str:
    """A cell on one line; Excel's ="0012", which keeps the zeros, is 0012."""
    cell = " ".join(cell.split())
    marked = _EXCEL_TEXT.fullmatch(cell) if cell.startswith('="') else None
    return marked[1].replace('""', '"') if marked else cell


def _add_table(builder: TextBuilder, rows: list[list[str]]) -> int:
    """Append the rows above the header as text, then the table; returns how many rows repeat the header."""
    width = _usual_width(rows)
    start = _header_place(rows, width)
    for row in rows[:start]:
        is_comment = row[0].startswith("#")
        builder.add("text", (", " if is_comment else " | ").join(cell for cell in row if cell))
    header, *body = rows[start:]
    kept = body
    if _names_columns(header) and width > 1:
        kept = [row for row in body if row != header]
    has_header = bool(kept) and not (kept and _is_data(header, kept[0]))
    lines = [" | ".join(row) for row in (header, *kept)]
    builder.add("table", "\n".join(lines), header=1 if has_header else 0)
    return len(body) - len(kept)


def _header_place(rows: list[list[str]], width: int) -> int:
    """Which row is the header: the first with the usual number of cells, not counting empty ones in titles.

    It may lack one: the last, if that is empty in all rows, or the first, above the names of rows.
    """
    for number, row in enumerate(rows[:MAX_TITLE_ROWS]):
        if len(row) >= width and (_n_filled(row) > 1 or width == 1) and not _is_comment(rows, number):
            return number
        if len(row) == width - 1 > 1 and _names_columns(row):
            body = [other for other in rows[number + 1 :] if len(other) == width]
            if body and (any(map(_is_number, body[0])) or not any(other[-1] for other in body)):
                return number
    return 0


def _is_comment(rows: list[list[str]], number: int) -> bool:
    """Whether a row is a comment with commas, above the header."""
    if not rows[number][0].startswith("# ") or number + 1 == len(rows):
        return False
    following = rows[number + 1]
    return len(following) > 1 and _names_columns(following) and not _is_number(following[-1])


def _n_filled(row: list[str]) -> int:
    return sum(bool(cell) for cell in row)


def _is_data(first: list[str], second: list[str]) -> bool:
    """Whether a first row is no header but data: a number, no year, above a number, or a date above a date."""
    return any(
        _is_number(a) and _is_number(b) and bool(_DATE.fullmatch(a)) == bool(_DATE.fullmatch(b))
        for a, b in zip(first, second, strict=False)
    )
