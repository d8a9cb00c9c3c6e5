"""PPTX: the slides of a presentation, one page each. Pictures, comments and animations are not read."""

from __future__ import annotations

from typing import Any

from rag.documents.document import Document, TextBuilder
from rag.documents.formats.office.drawings import Item, add_items, chart, paragraphs, smart_art
from rag.documents.formats.office.ooxml import Package, child, long, named, number, shown
from rag.documents.formats.office.tables import Cell, Row, table_items

_SHAPES = {"p:sp", "p:txBody", "a:tbl", "c:chart", "cx:chart", "dgm:relIds"}
_MARGINS = {"dt", "ftr", "hdr"}  # they stand on every slide: each text once
_LEFT_OUT = {"sldNum", "sldImg"}
_TITLES = {"title", "ctrTitle"}


def parse_pptx(data: bytes) -> Document:
    """A slide is a page: its title as the heading, then its shapes in order, then the speaker's notes.

    Shapes are text, tables, charts (titles, names and values) and SmartArt, in groups too. A footer that stands on many
    slides is read once. Hidden slides are read, and named in a note.
    """
    package = Package(data)
    main = package.main()
    root = package.xml(main)
    links = package.relations(main)
    builder = TextBuilder()
    hidden = []
    margins: set[str] = set()
    slides = child(root, "p:sldIdLst")
    for page, entry in enumerate(slides if slides is not None else (), 1):
        link = links.get(entry.get(long("r:id"), ""))
        if link is not None and link.part in package and not package.take(link.part):
            continue
        slide = package.optional(link.part if link is not None else f"of slide {page}")
        if slide is None or link is None:
            continue
        if slide.get("show") in ("0", "false"):
            hidden.append(str(page))
        add_items(builder, _Slide(package, link.part, margins).items(slide), page)
        notes = package.related(link.part, "notesSlide")
        sheet = package.optional(notes)
        if sheet is not None:
            add_items(builder, _Slide(package, notes, margins, is_notes=True).items(sheet), page)
    if hidden:
        package.note(f"hidden slides are read too: {named(hidden)}")
    return builder.document("pptx", package.title(), tuple(package.notes))


class _Slide:
    """Reads the shapes of one slide or of its notes; `margins` are the footers that were read before."""

    def __init__(self, package: Package, part: str, margins: set[str], is_notes: bool = False):
        self._package = package
        self._part = part
        self._margins = margins
        self._is_notes = is_notes
        self._title: list[Item] = []
        self._items: list[Item] = []

    def items(self, root: Any) -> list[Item]:
        """The title, then everything else in the order of the file, what is in groups too."""
        for name, element in shown(root, _SHAPES):
            if name == "p:sp":
                self._text_of(element)
            elif name == "p:txBody":  # of a shape that is none of the usual ones
                self._items.append(Item("text", "\n".join(paragraphs(element))))
            elif name == "a:tbl":
                self._items += _table(element)
            else:
                self._drawing(name, element.get(long("r:dm" if name == "dgm:relIds" else "r:id"), ""))
        return self._title + self._items

    def _drawing(self, name: str, link_name: str) -> None:
        link = self._package.relations(self._part).get(link_name)
        is_there = (
            link is not None and not link.external and (link.part not in self._package or self._package.take(link.part))
        )
        root = self._package.optional(link.part) if link is not None and is_there else None
        if root is not None and name == "dgm:relIds":
            self._items.append(Item("text", "\n".join(smart_art(root))))
        elif root is not None:
            self._items += chart(root)

    def _text_of(self, shape: Any) -> None:
        placeholder = child(shape, "p:nvSpPr", "p:nvPr", "p:ph")
        kind = "" if placeholder is None else placeholder.get("type", "obj")
        body = child(shape, "p:txBody")
        text = "\n".join(paragraphs(body)) if body is not None else ""
        if kind in _LEFT_OUT or not text:
            return
        if kind in _MARGINS:
            if not self._is_notes and text not in self._margins:
                self._margins.add(text)
                self._items.append(Item("text", text))
        elif kind in _TITLES and not self._is_notes and not self._title:
            self._title.append(Item("heading", text, 1))
        else:
            self._items.append(Item("text", text))


def _table(element: Any) -> list[Item]:
    rows = []
    for line in element.iterchildren(long("a:tr")):
        row = Row()
        for cell in line.iterchildren(long("a:tc")):
            is_below = cell.get("vMerge") in ("1", "true")
            merge = "continue" if is_below else "restart" if number(cell.get("rowSpan"), 1) > 1 else ""
            row.cells.append(Cell([Item("text", text) for text in paragraphs(cell)], 1, merge))
        rows.append(row)
    return table_items(rows)
