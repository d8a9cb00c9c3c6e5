"""The styles of a Word file: which are headings, which belong to a list, which hide their text."""

from __future__ import annotations

import re
from typing import Any

from rag.documents.formats.office.ooxml import child, is_on, long, number

_HEADING = re.compile(r"heading ?([1-9])", re.I)
_MOST_PARENTS = 20  # styles build on each other, now and then in a circle


class Styles:
    """Looks up what a paragraph or run has from its style and the styles that this one builds on."""

    def __init__(self, root: Any):
        """`root` is the part's root element, or None."""
        found = root.findall(long("w:style")) if root is not None else []
        self._styles = {style.get(long("w:styleId"), ""): style for style in found}
        usual = (style for style in found if style.get(long("w:type")) == "paragraph" and style.get(long("w:default")))
        self._usual = next((each.get(long("w:styleId"), "") for each in usual if is_on(each, "w:default")), "")
        self._levels: dict[str, int] = {}
        self._hidden: dict[str, bool] = {}

    def heading(self, name: str) -> int:
        """The depth of the headings that a paragraph style makes, from 1; 0 for a style of other text."""
        if name not in self._levels:
            self._levels[name] = self._heading(name)
        return self._levels[name]

    def _heading(self, name: str) -> int:
        if name not in self._styles:
            match = _HEADING.fullmatch(name)
            return int(match[1]) if match else int(name.lower() == "title")
        for style in self._chain(name):
            outline = child(style, "w:pPr", "w:outlineLvl")
            if outline is not None:
                return level_of(outline)
            own = child(style, "w:name")
            own_name = own.get(long("w:val"), "") if own is not None else ""
            if match := _HEADING.fullmatch(own_name):
                return int(match[1])
            if own_name.lower() == "title":
                return 1
        return 0

    def list_of(self, name: str) -> tuple[str, int | None]:
        """The list that a paragraph style belongs to, and its level there where the style names it."""
        depth = None
        for style in self._chain(name or self._usual):
            marks = child(style, "w:pPr", "w:numPr")
            if marks is None:
                continue
            if depth is None and (level := child(marks, "w:ilvl")) is not None:
                depth = number(level.get(long("w:val")))
            if (found := child(marks, "w:numId")) is not None:
                return found.get(long("w:val"), ""), depth
        return "", depth

    def hides(self, name: str) -> bool:
        """Whether text in a style is hidden."""
        if name not in self._hidden:
            marks = (child(style, "w:rPr", "w:vanish") for style in self._chain(name))
            self._hidden[name] = is_on(next((mark for mark in marks if mark is not None), None))
        return self._hidden[name]

    def _chain(self, name: str) -> list[Any]:
        chain: list[Any] = []
        while name in self._styles and len(chain) < _MOST_PARENTS:
            chain.append(self._styles[name])
            parent = child(chain[-1], "w:basedOn")
            name = parent.get(long("w:val"), "") if parent is not None else ""
        return chain


def level_of(outline: Any) -> int:
    """The depth of a heading by <w:outlineLvl>, which counts from 0; its 9 is text."""
    depth = number(outline.get(long("w:val")), 9)
    return depth + 1 if 0 <= depth < 9 else 0
