"""Lines that run through a document: headers and footers, at the top and foot of its pages.

Only what is equal as it stands is dropped, or what differs by the page's own number alone. One copy stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.documents.formats.pdf.glyphs import Item, Line, Table

EDGE_ROWS = 2  # of a page's top and foot, where headers and footers stand
LEAST_PAGES = 4
_LEAST_COPIES = 3
_LONGEST_WITH_NUMBER = 150  # characters
_SHOWN_IN_A_NOTE = 5
_SHOWN_CHARACTERS = 60

_NUMBER = re.compile(r"(?<![\w.,])(?:\d{1,5}|[ivxlcdm]{1,9}|[IVXLCDM]{1,9})(?!\w|[.,]\d)")
_PAGE_WORD = (
    r"(?:pages?|pp?|pg|seiten?|s|blatt|folios?|fol|slide|folie|p[áa]g(?:ina)?s?|página|pagina|strana|strona|sida|side|sivu"
    r"|oldal|стр|страница|feuille|hoja|sheet|第|页|頁|ページ)"
)
# Of a page even within a longer line, where "Fact sheet 3" and "Form S-3" are something else.
_SURE_WORD = r"(?:pages?|pp?\.|pg|seiten?|s\.|p[áa]g(?:ina)?s?|strana|strona|sivu|oldal|стр|страница|第|页|頁|ページ)"
_AROUND = r"[\s\-–—|·•./\\()\[\]{}<>*~_:,]*"  # "§ 3", "5 %" and "+1" are no numbers of pages
_OF = r"(?:of|von|de|di|sur|van|av|af|z|из|out of|/|\||共)"
_PAGE_FORM = re.compile(
    rf"{_AROUND}(?:{_PAGE_WORD}{_AROUND})?#{_AROUND}(?:{_OF}{_AROUND}\d+{_AROUND})?(?:页|頁|ページ)?{_AROUND}", re.I
)
_PAGED = re.compile(rf"(?<!\w){_SURE_WORD}[\s.:_–—-]{{0,3}}#", re.I)
_SET_OFF = re.compile(r"#\s*[|·•].*|.*[|·•]\s*#|#\s+[-–—/]\s+\S+\s.*|\S+\s.*\s[-–—/]\s+#")
_YEAR = re.compile(r"(?:19|20)\d\d")
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}


@dataclass(frozen=True, slots=True)
class _Key:
    """What lines that run through the document share: their text, "#" for the page's number."""

    text: str
    where: str  # top, foot
    difference: int | None = None  # of the number and the page's place in the file; None without a number
    certain: bool = True  # by its form the number of a page, whatever it counts from


@dataclass(slots=True)
class _Edge:
    """A line at the top or foot of a page, and whether it is the outermost and stands away from the others."""

    page: int
    line: Line
    where: str
    apart: bool


def without_running(pages: Sequence[list[Item]], labels: Sequence[str] = ()) -> tuple[list[list[Item]], list[str]]:
    """The pages without the lines that run through them, all but the first of each; and the lines, for a note.

    `labels` are the numbers that the file gives its pages, where it does.
    """
    if len(pages) < LEAST_PAGES:
        return list(pages), []
    found: dict[_Key, list[_Edge]] = {}
    for n, items in enumerate(pages):
        for edge in _edges(n, items):
            for key in _keys(edge):
                found.setdefault(key, []).append(edge)
    running = {key: edges for key, edges in found.items() if _runs(key, edges, len(pages))}
    counted_from = {0} | {key.difference for key in running if key.certain and key.difference is not None}
    counted_from |= {int(label) - n - 1 for n, label in enumerate(labels) if label.isdecimal()}
    dropped: dict[int, int] = {}  # a line's id -> its number among the descriptions
    described: list[str] = []
    for key, edges in running.items():
        if not key.certain and key.difference not in counted_from:
            continue
        fresh = [edge for edge in edges if id(edge.line) not in dropped]
        if len(fresh) < _LEAST_COPIES:
            continue
        fresh[0].line.alone = True
        for edge in fresh[1:]:
            dropped[id(edge.line)] = len(described)
        text = " ".join(fresh[0].line.text.split())
        shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
        described.append(f"“{shown}” ({len(fresh)} pages)")
    return [[item for item in items if id(item) not in dropped] for items in pages], described


def note_of(described: Sequence[str]) -> str:
    """What was left out, in a sentence."""
    more = f", and {len(described) - _SHOWN_IN_A_NOTE} more" if len(described) > _SHOWN_IN_A_NOTE else ""
    lines = ", ".join(described[:_SHOWN_IN_A_NOTE])
    return f"lines that run along the top or foot of pages are kept once: {lines}{more}"


def _edges(page: int, items: Sequence[Item]) -> Iterator[_Edge]:
    """The lines of the outermost rows of a page."""
    rows = _rows(items)
    for where, order in (("top", rows), ("foot", rows[::-1])):
        for depth, row in enumerate(order[:EDGE_ROWS]):
            if depth and len(order) > depth + 1 and _gap(order[0], row) > 1.2 * _gap(row, order[depth + 1]):
                break  # it stands with the text, not with the outermost row
            apart = depth == 0 and len(order) > 1 and _gap(row, order[1]) > 1.4
            yield from (_Edge(page, item, where, apart) for item in row if isinstance(item, Line))


def _rows(items: Sequence[Item]) -> list[list[Item]]:
    """What stands side by side, from top to bottom; in the order of the file where places are unknown."""
    filled = [item for item in items if isinstance(item, Table) or item.text.strip()]
    if any(item.box is None for item in filled):
        return [[item] for item in filled]
    rows: list[list[Item]] = []
    for item in sorted(filled, key=_middle):
        if rows and _middle(item) - _middle(rows[-1][0]) < 0.5 * min(_height(item), _height(rows[-1][0])):
            rows[-1].append(item)
        else:
            rows.append([item])
    return rows


def _middle(item: Item) -> float:
    return (item.box[1] + item.box[3]) / 2 if item.box else 0.0


def _height(item: Item) -> float:
    return item.box[3] - item.box[1] if item.box else 0.0


def _gap(row: Sequence[Item], other: Sequence[Item]) -> float:
    """The space between two rows, in heights of the first; large where nothing is known."""
    if any(item.box is None for item in (*row, *other)):
        return 2.0
    boxes = [[item.box for item in each if item.box] for each in (row, other)]
    above, below = sorted(boxes, key=lambda each: each[0][1])
    space = min(box[1] for box in below) - max(box[3] for box in above)
    return 1 + space / max(_height(row[0]), 1.0)


def _keys(edge: _Edge) -> Iterator[_Key]:
    """The ways in which a line may run through the document."""
    text = " ".join(edge.line.text.split())
    yield _Key(text, edge.where)
    for match in _NUMBER.finditer(text) if len(text) <= _LONGEST_WITH_NUMBER else ():
        value = _value(match[0])
        if value is None:
            continue
        rest = f"{text[: match.start()]}#{text[match.end() :]}"
        difference = value - edge.page - 1
        if _PAGED.search(rest):
            yield _Key(rest, edge.where, difference)
        elif _PAGE_FORM.fullmatch(rest):
            is_year = bool(_YEAR.fullmatch(match[0]))
            yield _Key(rest, edge.where, difference, difference == 0 or (edge.apart and not is_year))
        elif match[0].isdecimal() and match[0][0] != "0" and (_SET_OFF.fullmatch(rest) or _is_set_off(edge.line, rest)):
            yield _Key(rest, edge.where, difference, certain=False)


def _is_set_off(line: Line, rest: str) -> bool:
    """Whether a wide space parts a number at a line's end from the words: "Article 3" is no page's number."""
    return (rest.startswith("#") and line.wide_gaps[0]) or (rest.endswith("#") and line.wide_gaps[1])


def _value(number: str) -> int | None:
    """The value of an Arabic or Roman number, None for letters that are none."""
    if number.isdecimal():
        return int(number)
    values = [_ROMAN[ch] for ch in number.lower()]
    total = sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))
    return total if _roman(total) == number.lower() else None


def _roman(value: int) -> str:
    signs = (
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
    )
    text = ""
    for worth, sign in (*signs, (9, "ix"), (5, "v"), (4, "iv"), (1, "i")):
        text += sign * (value // worth)
        value %= worth
    return text


def _runs(key: _Key, edges: Sequence[_Edge], n_pages: int) -> bool:
    """Whether lines stand on most pages, or most left or right ones; those with the page's number, of a stretch."""
    pages = sorted({edge.page for edge in edges})
    if len(pages) < _LEAST_COPIES:
        return False
    first, last = (0, n_pages - 1) if key.difference is None else (pages[0], pages[-1])
    if len(pages) > (last - first + 1) / 2:
        return True
    same_side = len({page % 2 for page in pages}) == 1
    return same_side and len(pages) > len(range(first + (pages[0] - first) % 2, last + 1, 2)) / 2
