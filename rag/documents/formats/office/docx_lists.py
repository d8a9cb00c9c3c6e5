"""The numbers of Word's lists and headings, which a file describes and Word counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rag.documents.formats.office.ooxml import child, is_on, long, number, short

_ROMAN: tuple[tuple[int, str], ...] = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl")),
    *((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_MOST = 32_767  # Word counts no further


@dataclass(frozen=True, slots=True)
class _Level:
    """A level of a list: `text` is a pattern such as `%1.%2`; `style` the paragraph style that stands for the level."""

    start: int
    form: str
    text: str
    gap: str
    restarts: bool
    legal: bool
    style: str


class Lists:
    """Counts the paragraphs of a document's lists, in the order in which it is asked."""

    def __init__(self, numbering: Any, list_of_style: Callable[[str], str]):
        """`numbering` is the root of the part (or None); `list_of_style` gives the list (`w:numId`) of a style."""
        self._levels: dict[str, dict[int, _Level]] = {}
        self._abstract: dict[str, str] = {}
        self._starts: dict[str, dict[int, int]] = {}
        self._counts: dict[str, dict[int, int]] = {}
        self._seen: set[str] = set()
        links: dict[str, str] = {}
        for entry in numbering if numbering is not None else ():
            if short(entry.tag) == "w:abstractNum":
                name = entry.get(long("w:abstractNumId"), "")
                self._levels[name] = dict(map(_level, entry.findall(long("w:lvl"))))
                if (link := child(entry, "w:numStyleLink")) is not None:
                    links[name] = link.get(long("w:val"), "")
            elif short(entry.tag) == "w:num":
                self._add(entry)
        for name, style in links.items():
            target = self._abstract.get(list_of_style(style), "")
            if not self._levels.get(name):
                self._levels[name] = self._levels.get(target, {})

    def _add(self, entry: Any) -> None:
        name = entry.get(long("w:numId"), "")
        abstract = child(entry, "w:abstractNumId")
        self._abstract[name] = abstract.get(long("w:val"), "") if abstract is not None else ""
        starts: dict[int, int] = {}
        levels: dict[int, _Level] = {}
        for override in entry.findall(long("w:lvlOverride")):
            depth = number(override.get(long("w:ilvl")))
            if (level := child(override, "w:lvl")) is not None:
                levels[depth] = _level(level)[1]
                starts[depth] = levels[depth].start
            if (start := child(override, "w:startOverride")) is not None:
                starts[depth] = number(start.get(long("w:val")), 1)
        self._starts[name] = starts
        if levels:  # such a list counts for itself
            self._levels[f"{name} of its own"] = {**self._levels.get(self._abstract[name], {}), **levels}
            self._abstract[name] = f"{name} of its own"

    def level_of_style(self, name: str, style: str) -> int:
        """The level of a list that stands for a paragraph style; 0 where none does."""
        levels = self._levels.get(self._abstract.get(name, ""), {})
        return next((depth for depth, level in levels.items() if level.style == style), 0)

    def label(self, name: str, depth: int) -> str:
        """Count one more paragraph of a list at a level; returns what Word writes before it, '' for a bullet."""
        abstract = self._abstract.get(name, "")
        levels = self._levels.get(abstract, {})
        if depth not in levels:
            return ""
        counts = self._counts.setdefault(abstract, {})
        if name not in self._seen:
            self._seen.add(name)
            counts.update({at: start - 1 for at, start in self._starts.get(name, {}).items()})
        for above in range(depth):
            counts.setdefault(above, levels[above].start if above in levels else 1)
        counts[depth] = min(counts.get(depth, levels[depth].start - 1) + 1, _MOST)
        for below in [at for at in counts if at > depth and at in levels and levels[at].restarts]:
            del counts[below]
        level = levels[depth]
        if level.form in ("bullet", "none"):
            return ""

        def written(match: re.Match) -> str:
            at = int(match[1]) - 1
            form = "decimal" if level.legal or at not in levels else levels[at].form
            return counted(max(counts.get(at, 1), 0), form)

        text = re.sub(r"%([1-9])", written, level.text)
        return text + level.gap if text.strip() else ""


def _level(element: Any) -> tuple[int, _Level]:
    def value(name: str, default: str) -> str:
        found = child(element, name)
        return default if found is None else found.get(long("w:val"), default)

    gap = "" if value("w:suff", "tab") == "nothing" else " "
    restarts = value("w:lvlRestart", "1") != "0"
    legal = is_on(child(element, "w:isLgl"))
    start = number(value("w:start", "0"))
    form = value("w:numFmt", "decimal")
    return number(element.get(long("w:ilvl"))), _Level(
        start, form, value("w:lvlText", ""), gap, restarts, legal, value("w:pStyle", "")
    )


def counted(n: int, form: str) -> str:
    """A number as a list writes it: `lowerRoman` and so on; forms that are not known are written in digits."""
    if form in ("lowerLetter", "upperLetter") and n > 0:
        letters = chr(ord("a") + (n - 1) % 26) * min((n - 1) // 26 + 1, 100)
        return letters.upper() if form == "upperLetter" else letters
    if form in ("lowerRoman", "upperRoman") and n > 0:
        letters = ""
        for worth, roman in _ROMAN:
            letters += roman * (n // worth)
            n %= worth
        return letters.upper() if form == "upperRoman" else letters
    if form == "decimalZero":
        return f"{n:02}"
    if form == "ordinal":
        ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
        return f"{n}{ending}"
    return "" if form == "none" else str(n)
