"""What a walk over a Word file's elements carries with it: blocks, paragraphs and tables that are still open."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from rag.documents.formats.office.docx_lists import Lists
from rag.documents.formats.office.docx_styles import Styles, level_of
from rag.documents.formats.office.drawings import Item
from rag.documents.formats.office.ooxml import Package, child, long, number
from rag.documents.formats.office.tables import Row


@dataclass(slots=True)
class Word:
    """What all stories of a file share, and what was counted while they were read."""

    package: Package
    styles: Styles
    lists: Lists
    n_hidden: int = 0
    n_symbols: int = 0

    def label(self, paragraph: OpenParagraph) -> str:
        """Count a paragraph in its list; returns what Word writes before it, '' where that is nothing."""
        marks = child(paragraph.properties, "w:numPr")
        own_name, own_depth = child(marks, "w:numId"), child(marks, "w:ilvl")
        name, depth = self.styles.list_of(paragraph.style)
        if own_name is not None:
            name = own_name.get(long("w:val"), "")
        elif depth is None and name:
            depth = self.lists.level_of_style(name, paragraph.style)
        if own_depth is not None:
            depth = number(own_depth.get(long("w:val")))
        return self.lists.label(name, depth or 0) if name else ""

    def level(self, paragraph: OpenParagraph) -> int:
        """The depth of the heading that a paragraph is, from 1; 0 for other text."""
        outline = child(paragraph.properties, "w:outlineLvl")
        return self.styles.heading(paragraph.style) if outline is None else level_of(outline)


@dataclass(slots=True)
class OpenParagraph:
    """A paragraph under way: its text, what stands in its text boxes, and the notes that it refers to."""

    properties: Any
    style: str = ""
    is_hidden: bool = False
    has_page_number: bool = False
    pieces: list[str] = field(default_factory=list)
    boxes: list[Item] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Flow:
    """Blocks one below the other: a body, cell or text box. `open` is a paragraph that the next one goes on with."""

    items: list[Item] = field(default_factory=list)
    open: OpenParagraph | None = None
    properties: Any = None


@dataclass(slots=True)
class OpenTable:
    rows: list[Row] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def as_text(item: Item) -> Item:
    """A heading in a text box heads that box, not what follows it: it is text."""
    return Item("text", item.text) if item.kind == "heading" else item


def letters_below(element: Any, name: str) -> list[Any]:
    part = child(element, name)
    return [] if part is None else list(part.iter(long("w:t")))


def hexadecimal(value: str | None) -> int:
    return int(value, 16) if value and re.fullmatch(r"[0-9A-Fa-f]{1,6}", value) else 0
