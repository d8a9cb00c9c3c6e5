"""The cells of a sheet, each as a spreadsheet shows it."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from rag.documents.decode import clean
from rag.documents.formats.office.drawings import unescaped
from rag.documents.formats.office.formats import BUILT_IN
from rag.documents.formats.office.numbers import shown_number, shown_text
from rag.documents.formats.office.ooxml import Package, child, long, number, short

_REFERENCE = re.compile(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})")
_LINK = re.compile(r"HYPERLINK\(\s*\"[^\"]*\"\s*[,;]\s*\"((?:[^\"]|\"\")*)\"\s*\)", re.I)
_PLAIN = re.compile(r"-?[1-9]\d*(?:\.\d*[1-9])?|0")  # numbers that stand as they are
_BY_LETTERS = {"b": {"1": "TRUE", "0": "FALSE", "true": "TRUE", "false": "FALSE"}}
_VALUE, _FORMULA, _TEXT = long("s:v"), long("s:f"), long("s:is")
_DIGITS = "0123456789"
Range = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows; `is_text` where that is no number, date or truth value."""

    text: str
    is_text: bool


@dataclass(slots=True)
class Sheet:
    """The cells that show something, by row and column from 1; ranges are (row, column, row, column), ends included."""

    rows: dict[int, dict[int, Cell]] = field(default_factory=dict)
    merged: list[Range] = field(default_factory=list)
    headers: set[int] = field(default_factory=set)  # rows that the file itself calls a table's header
    n_formulas: int = 0  # that have no value
    has_hidden: bool = False  # rows or columns that hold something
    is_damaged: bool = False


class Book:
    """What the sheets of a workbook share: its strings, formats and calendar."""

    def __init__(self, package: Package, main: str, root: Any):
        properties = child(root, "s:workbookPr")
        calculation = child(root, "s:calcPr")
        self._date1904 = properties is not None and properties.get("date1904") in ("1", "true", "on")
        # Programs that cannot compute write 0 and ask for a computation when the file is opened.
        self._awaits_computation = calculation is not None and calculation.get("fullCalcOnLoad") in ("1", "true")
        self._strings = _strings(package, package.related(main, "sharedStrings"))
        self._formats = _formats(package.optional(package.related(main, "styles")))

    def sheet(self, data: bytes) -> Sheet:
        """The sheet in a part's bytes, up to where it is damaged. Its stated size is not believed."""
        from lxml import etree

        sheet = Sheet()
        shared: dict[str, tuple[str, str]] = {}
        tags = [long(name) for name in ("s:col", "s:row", "s:mergeCell", "s:autoFilter")]
        at = 0
        hidden: list[tuple[int, int]] = []
        try:
            for _, element in etree.iterparse(
                io.BytesIO(_without_empty(data)),
                events=("end",),
                tag=tags,
                huge_tree=True,
                resolve_entities=False,
                remove_comments=True,
            ):
                if short(element.tag) == "s:row":
                    at = number(element.get("r"), at + 1)
                    self._row(sheet, at, element, shared)
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]
                elif short(element.tag) == "s:col":
                    hidden += [(number(element.get("min")), number(element.get("max")))] if _is_hidden(element) else []
                elif area := area_of(element.get("ref")):
                    if short(element.tag) == "s:mergeCell":
                        sheet.merged.append(area)
                    else:
                        sheet.headers.add(area[0])
        except etree.XMLSyntaxError:
            sheet.is_damaged = True
        columns = set().union(*sheet.rows.values()) if hidden else set()
        sheet.has_hidden |= any(low <= column <= high for low, high in set(hidden) for column in columns)
        return sheet

    def _row(self, sheet: Sheet, at: int, row: Any, shared: dict[str, tuple[str, str]]) -> None:
        cells: dict[int, Cell] = {}
        column = 0
        for element in row:
            reference = element.get("r")
            column = (_column(reference.rstrip(_DIGITS)) if reference else 0) or column + 1
            value = formula = text = None
            for part in element:
                if part.tag == _VALUE:
                    value = part
                elif part.tag == _FORMULA:
                    formula = part
                elif part.tag == _TEXT:
                    text = part
            kind = element.get("t", "n")
            if formula is not None:
                name = formula.get("si", "")
                if formula.get("t") == "shared" and formula.text:
                    shared[name] = (formula.text, reference or "")
                if self._is_uncomputed(kind, value):
                    sheet.n_formulas += 1
                    cells[column] = Cell(_formula(formula, shared.get(name), reference or ""), True)
                    continue
            stored = "".join(_rich(text)) if text is not None else (value.text or "") if value is not None else ""
            if not stored:
                continue
            cell = self._cell(kind, stored, element.get("s"))
            if cell.text.strip():
                cells[column] = cell
        if cells:
            sheet.has_hidden |= _is_hidden(row)
            sheet.rows.setdefault(at, {}).update(cells)

    def _is_uncomputed(self, kind: str, value: Any) -> bool:
        if value is None or not value.text:
            return value is None or kind != "str"
        return self._awaits_computation and kind == "n" and value.text.strip() == "0"

    def _cell(self, kind: str, stored: str, style: str | None) -> Cell:
        code = self._formats.get(number(style), "General")
        if kind == "s":
            at = number(stored, -1)
            return Cell(shown_text(self._strings[at], code) if 0 <= at < len(self._strings) else "", True)
        if kind in ("str", "inlineStr"):
            return Cell(shown_text(clean(unescaped(stored)), code), True)
        if kind == "d":
            return Cell(re.sub(r"T00:00(:00(\.0*)?)?Z?$", "", stored.strip()).replace("T", " "), False)
        if kind in ("b", "e"):
            return Cell(_BY_LETTERS.get(kind, {}).get(stored.strip(), stored.strip()), kind == "e")
        if code == "General" and len(stored) < 15 and _PLAIN.fullmatch(stored):
            return Cell(stored, False)
        return Cell(shown_number(stored, code, self._date1904), False)


def _is_hidden(element: Any) -> bool:
    return element.get("hidden") in ("1", "true")


@lru_cache(maxsize=20_000)
def _column(letters: str) -> int:
    """The number of a column from 1 by its letters; 0 for what are none."""
    column = 0
    for letter in letters.replace("$", "").upper():
        if not "A" <= letter <= "Z" or column > 20_000:
            return 0
        column = 26 * column + ord(letter) - 64
    return column


def place_of(reference: str | None) -> tuple[int, int] | None:
    """(row, column) of `B7`, from 1; None for what is no such name."""
    match = _REFERENCE.fullmatch(reference or "")
    return (int(match[2]), _column(match[1])) if match else None


def area_of(reference: str | None) -> Range | None:
    """(row, column, row, column) of `B7:C9`, from 1, ends included."""
    first, _, last = (reference or "").partition(":")
    start, end = place_of(first), place_of(last or first)
    return (*start, *end) if start and end else None


def _without_empty(data: bytes) -> bytes:
    """A sheet's XML without cells and rows that hold nothing but a format: there may be a million of them."""
    data = re.sub(rb'<c r="[A-Z]+[0-9]+"[^<>]*/>', b"", data)
    return re.sub(rb'<row r="[0-9]+"[^<>/]*(?:/>|></row>)', b"", data)


def _strings(package: Package, part: str) -> list[str]:
    root = package.optional(part)
    return ["".join(_rich(entry)) for entry in root] if root is not None else []


def _rich(element: Any) -> list[str]:
    """The runs of a text, without how its letters are read aloud (<rPh>)."""
    runs = []
    for part in element:
        text = part if short(part.tag) == "s:t" else child(part, "s:t") if short(part.tag) == "s:r" else None
        runs.append(clean(unescaped(text.text or "")) if text is not None else "")
    return runs


def _formats(root: Any) -> dict[int, str]:
    """The number format of each style of cells."""
    named = dict(BUILT_IN)
    for entry in child(root, "s:numFmts") if child(root, "s:numFmts") is not None else ():
        named[number(entry.get("numFmtId"))] = entry.get("formatCode") or "General"
    styles = child(root, "s:cellXfs")
    formats = styles.findall(long("s:xf")) if styles is not None else []
    return {at: named.get(number(entry.get("numFmtId")), "General") for at, entry in enumerate(formats)}


def _formula(element: Any, shared: tuple[str, str] | None, place: str) -> str:
    """A formula that has no value, as it is typed in; of a link its words."""
    text = element.text or ""
    if not text and shared is not None:
        from openpyxl.formula.translate import Translator

        try:
            text = Translator(f"={shared[0]}", shared[1]).translate_formula(place)[1:]
        except Exception:  # a formula that its tokenizer does not know
            text = shared[0]
    if link := _LINK.fullmatch(text.strip()):
        return clean(link[1].replace('""', '"'))
    return clean("=" + text.replace("_xlfn.", "").replace("_xlws.", ""))
