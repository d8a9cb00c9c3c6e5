"""What drawings of Office files say: text in shapes, charts, SmartArt. Also the pieces that all three parsers make."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rag.documents.decode import clean
from rag.documents.document import TextBuilder, ticked
from rag.documents.formats.office.math import equation
from rag.documents.formats.office.numbers import shown_number
from rag.documents.formats.office.ooxml import add_table, branch, child, long, number, short
from rag.documents.formats.office.symbol_fonts import PRIVATE, lettered

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_SMART_ART_MARKS = {"pres", "parTrans", "sibTrans", "doc"}  # points that no box stands for


@dataclass(frozen=True, slots=True)
class Item:
    """A paragraph, heading or table, before it has its place in a text; `html` is a page to be read there."""

    kind: str
    text: str = ""
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()
    header: int = 1
    html: bytes = b""

    def line(self) -> str:
        """The item in one cell of a table."""
        if self.kind == "html":
            from rag.documents.formats.html.html import parse_html

            return parse_html(self.html).text
        if self.kind == "table":
            return "; ".join(", ".join(filter(None, (" ".join(cell.split()) for cell in row))) for row in self.rows)
        return self.text


def add_items(builder: TextBuilder, items: Iterable[Item], page: int | None = None) -> None:
    """Append items to a text, in order."""
    from rag.documents.formats.html.html import parse_html

    for item in items:
        if item.kind == "table":
            add_table(builder, [[ticked(cell) for cell in row] for row in item.rows], item.header, page)
        elif item.kind == "heading":
            builder.add("heading", ticked(" ".join(item.text.split())), level=item.level, page=page)
        elif item.kind == "html":
            page_in_it = parse_html(item.html)
            for block in page_in_it.blocks:
                text = page_in_it.text[block.start : block.end]
                builder.add(block.kind, text, level=block.level, page=page, header=block.header)
        else:
            builder.add("text", ticked(item.text), page=page)


def unescaped(text: str) -> str:
    """The text with `_x000D_` and the like as the characters that they stand for."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def paragraphs(body: Any) -> list[str]:
    """The paragraphs (<a:p>) below an element; not the numbers of slides, and one copy of what stands in two forms."""
    from lxml import etree

    found: list[str] = []
    pieces: list[str] = []
    chosen: set[Any] = set()
    walker = etree.iterwalk(body, events=("start", "end"))
    for event, node in walker:
        name = short(node.tag)
        if event == "end":
            if name == "a:p":
                found.append(clean("".join(pieces)).strip())
                pieces = []
        elif name == "a:t":
            pieces.append(_letters(node))
        elif name == "a:br":
            pieces.append("\n")
        elif name in ("m:oMath", "m:oMathPara"):
            pieces.append(f" {equation(node)} ")
            walker.skip_subtree()
        elif name == "mc:AlternateContent":
            chosen.add(branch(node))
        elif (name in ("mc:Choice", "mc:Fallback") and node not in chosen) or _is_slide_number(name, node):
            walker.skip_subtree()
    return [text for text in [*found, clean("".join(pieces)).strip()] if text]


def _letters(node: Any) -> str:
    """The text of <a:t>; an arrow or box of a special font as what it shows."""
    text = unescaped(node.text or "")
    if not PRIVATE.search(text):
        return text
    font = child(node.getparent(), "a:rPr", "a:sym")
    name = font.get("typeface", "") if font is not None else ""
    return lettered(text, lambda at: name)


def _is_slide_number(name: str, node: Any) -> bool:
    return name == "a:fld" and node.get("type") == "slidenum"


def smart_art(root: Any) -> list[str]:
    """The texts of a diagram's boxes, in the order of the file's model of it."""
    points = [point for point in root.iter(long("dgm:pt")) if point.get("type") not in _SMART_ART_MARKS]
    return [text for point in points if (body := child(point, "dgm:t")) is not None for text in paragraphs(body)]


@dataclass(frozen=True, slots=True)
class _Series:
    name: str
    categories: dict[int, str]
    values: tuple[dict[int, str], ...]


def chart(root: Any) -> list[Item]:
    """A chart as text: its titles and labels, and a table with a row for each category and a column for each series."""
    if short(root.tag).startswith("cx:"):
        texts, series = _titles(root, "cx:title"), _new_series(root)
    else:
        texts, series = _titles(root, "c:title"), [_series(each) for each in root.iter(long("c:ser"))]
        in_titles = {rich for title in root.iter(long("c:title")) for rich in title.iter(long("c:rich"))}
        for rich in root.iter(long("c:rich")):
            texts += [] if rich in in_titles else [" ".join(paragraphs(rich))]
    items = [Item("text", text) for text in texts if text]
    groups: list[list[_Series]] = []
    for each in series:
        if groups and groups[-1][0].categories == each.categories:
            groups[-1].append(each)
        else:
            groups.append([each])
    return items + [Item("table", rows=_table(group)) for group in groups]


def _table(group: list[_Series]) -> tuple[tuple[str, ...], ...]:
    columns = [values for each in group for values in each.values or ({},)]
    names = [each.name for each in group for _ in each.values or ({},)]
    places = sorted(set(group[0].categories).union(*columns))
    rows = [(group[0].categories.get(at, ""), *(values.get(at, "") for values in columns)) for at in places]
    return (("", *names), *rows)


def _titles(root: Any, tag: str) -> list[str]:
    texts = []
    for title in root.iter(long(tag)):
        prefix = tag.split(":")[0]
        said = paragraphs(title) or [clean(value.text or "") for value in title.iter(long(f"{prefix}:v"))]
        texts.append(" ".join(" ".join(said).split()))
    return texts


def _series(element: Any) -> _Series:
    name = child(element, "c:tx")
    values = [child(element, tag) for tag in ("c:val", "c:yVal", "c:bubbleSize")]
    category = child(element, "c:cat")
    category = child(element, "c:xVal") if category is None else category
    said = [] if name is None else [clean(value.text or "") for value in name.iter(long("c:v"))]
    points = tuple(found for each in values if each is not None and (found := _points(each)))
    return _Series(" ".join(said).strip(), {} if category is None else _points(category), points)


def _points(element: Any) -> dict[int, str]:
    """The points of a series by their places; a category of several levels is written from the outermost inwards."""
    levels = list(element.iter(long("c:lvl")))
    if not levels:
        return _level(element)
    found = [_level(level) for level in levels]
    above = [""] * len(found)
    result: dict[int, str] = {}
    for at in sorted(found[0]):
        above = [points.get(at, before) for points, before in zip(found, above, strict=True)]
        result[at] = " › ".join(filter(None, reversed(above)))
    return result


def _level(element: Any) -> dict[int, str]:
    cache = next((each for each in element if short(each.tag) in ("c:numRef", "c:strRef")), element)
    code = next((each.text or "" for each in cache.iter(long("c:formatCode"))), "")
    is_number = bool(code) or any(short(each.tag) in ("c:numRef", "c:numLit") for each in element)
    points: dict[int, str] = {}
    for point in element.iter(long("c:pt")):
        value = child(point, "c:v")
        text = clean((value.text or "") if value is not None else "").strip()
        text = shown_number(text, point.get("formatCode") or code or "General") if is_number else text
        points[number(point.get("idx"), len(points))] = text
    return points


def _new_series(root: Any) -> list[_Series]:
    """The series of the charts of 2016: waterfall, treemap, funnel and so on."""
    data = {each.get("id"): each for each in root.iter(long("cx:data"))}
    found = []
    for element in root.iter(long("cx:series")):
        name = child(element, "cx:tx", "cx:txData", "cx:v")
        link = child(element, "cx:dataId")
        source = data.get(link.get("val")) if link is not None else None
        words: list[dict[int, str]] = []
        values: list[dict[int, str]] = []
        for level in source.iter(long("cx:lvl")) if source is not None else ():
            is_number = short(level.getparent().tag) == "cx:numDim"
            points: dict[int, str] = {}
            for point in level.iter(long("cx:pt")):
                text = clean(point.text or "").strip()
                code = level.get("formatCode") or "General"
                points[number(point.get("idx"), len(points))] = shown_number(text, code) if is_number else text
            (values if is_number else words).append(points)
        places = sorted(set().union(*words))
        categories = {at: " › ".join(level[at] for level in reversed(words) if level.get(at)) for at in places}
        found.append(_Series(clean((name.text or "") if name is not None else ""), categories, tuple(values)))
    return found
