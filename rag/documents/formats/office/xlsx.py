"""XLSX: sheets as a spreadsheet shows them. Formulas and macros never run; pictures are not read."""

from __future__ import annotations

from typing import Any

from rag.documents.decode import clean
from rag.documents.document import Document, TextBuilder
from rag.documents.formats.office.drawings import Item, add_items, chart, paragraphs, unescaped
from rag.documents.formats.office.ooxml import Package, child, long, named, shown
from rag.documents.formats.office.xlsx_cells import Book, area_of
from rag.documents.formats.office.xlsx_tables import sheet_items


def parse_xlsx(data: bytes) -> Document:
    """A sheet is a page: its name as the heading, then its tables, text boxes, titles of charts, and comments on cells.

    Numbers, dates and durations stand as their formats show them, dates in digits as 2024-03-01. A formula is kept as
    the value that was last computed; one that never was, as the formula, with a note. Hidden sheets, rows and
    columns are read, and named in a note.
    """
    package = Package(data)
    main = package.main()
    root = package.xml(main)
    book = Book(package, main, root)
    links = package.relations(main)
    builder = TextBuilder()
    hidden: list[str] = []
    partly: list[str] = []
    n_formulas = 0
    for page, entry in enumerate(root.iter(long("s:sheet")), 1):
        name = clean(unescaped(entry.get("name") or f"sheet {page}"))
        link = links.get(entry.get(long("r:id"), ""))
        if link is None or link.part not in package:
            package.note(f"the sheet {name} is missing")
            continue
        if not package.take(link.part):
            continue
        sheet = book.sheet(package.bytes(link.part))
        sheet.headers |= _table_headers(package, link.part)
        n_formulas += sheet.n_formulas
        if sheet.is_damaged:
            package.note(f"the sheet {name} is damaged; only what stands before the damage is read")
        items = [*sheet_items(sheet), *_drawn(package, link.part), *_comments(package, link.part)]
        if items:
            add_items(builder, [Item("heading", name, 1), *items], page)
            hidden += [name] if entry.get("state", "visible") != "visible" else []
            partly += [name] if sheet.has_hidden else []
    if hidden:
        package.note(f"hidden sheets are read too: {named(hidden)}")
    if partly:
        package.note(f"hidden rows and columns are read too, in: {named(partly)}")
    if n_formulas:
        package.note(
            f"formulas without a computed value: {n_formulas}; open and save the file in a spreadsheet program"
        )
    return builder.document("xlsx", package.title(), tuple(package.notes))


def _table_headers(package: Package, part: str) -> set[int]:
    """The header rows of the tables that a sheet declares."""
    rows = set()
    for link in package.relations(part).values():
        table = package.optional(link.part) if link.kind == "table" and not link.external else None
        if table is not None and table.get("headerRowCount") != "0" and (area := area_of(table.get("ref"))):
            rows.add(area[0])
    return rows


def _drawn(package: Package, part: str) -> list[Item]:
    """The texts of the shapes on a sheet, and the titles of its charts, whose numbers stand in cells."""
    drawing = package.related(part, "drawing")
    root = package.optional(drawing)
    if root is None:
        return []
    items: list[Item] = []
    for name, element in shown(root, {"xdr:txBody", "c:chart", "cx:chart"}):
        if name == "xdr:txBody":
            items.append(Item("text", "\n".join(paragraphs(element))))
            continue
        link = package.relations(drawing).get(element.get(long("r:id"), ""))
        picture = package.optional(link.part) if link is not None and not link.external else None
        if picture is not None:
            items += [item for item in chart(picture) if item.kind == "text"]
    return [item for item in items if item.text]


def _comments(package: Package, part: str) -> list[Item]:
    """What was written to cells, each after the name of its cell."""
    said: list[tuple[str, str]] = []
    threads: set[str] = set()
    links = [link for link in package.relations(part).values() if not link.external]
    for link in links:
        root = package.optional(link.part) if link.kind == "threadedComment" else None
        for comment in root if root is not None else ():
            text = comment.findtext("{*}text") or ""
            threads.add(comment.get("ref") or "")
            said.append((comment.get("ref") or "", text))
    for link in links:
        root = package.optional(link.part) if link.kind == "comments" else None
        for comment in root.iter(long("s:comment")) if root is not None else ():
            if comment.get("ref") not in threads:  # else a copy for programs that do not know threads
                said.append((comment.get("ref") or "", _written(child(comment, "s:text"))))
    return [Item("text", f"{place}: {clean(unescaped(text)).strip()}") for place, text in said if text.strip()]


def _written(element: Any) -> str:
    return "" if element is None else "".join(each.text or "" for each in element.iter(long("s:t")))
