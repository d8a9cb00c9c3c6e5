"""Fields of Word files: instructions that Word replaces by their result, among them page numbers and forms."""

from __future__ import annotations

import re
from typing import Any

from rag.documents.formats.office.ooxml import child, is_on, long, number

REMOVED = ("w:del", "w:moveFrom")
"""What holds text that was deleted or moved away."""

PAGE_FIELD = re.compile(r"\b(?:PAGE|NUMPAGES|SECTIONPAGES)\b")
_PAGE_WORDS = re.compile(
    r"\b(?:page|pages|pg|p|of|seite|seiten|von|s|de|sur|página|páginas|pagina|pagine|di|du|blad|van|side|sida|sidan|av|af|"
    r"strona|z|ze|strana|str|oldal|sivu|sayfa|стр|страница|из|第|页|頁|共)\b|[第页頁共]|[\W\d_]",
    re.I,
)


class Fields:
    """Follows the fields of a story; `n_instructions` of those that are open have not come to their result."""

    def __init__(self, root: Any):
        self._has_result = _whole_fields(root) if root is not None else {}
        self._open: list[bool] = []  # whether the result has begun
        self.n_instructions = 0

    def take(self, mark: Any) -> str:
        """Take in a mark (<w:fldChar>); returns what a box to tick or a list to choose from shows."""
        kind = mark.get(long("w:fldCharType"))
        shown = ""
        if kind == "begin" and mark in self._has_result:
            shown = "" if self.n_instructions else _form_value(mark)
            self._open.append(not self._has_result[mark])
            self.n_instructions += self._has_result[mark]
        elif kind == "separate" and self._open and not self._open[-1]:
            self._open[-1] = True
            self.n_instructions -= 1
        elif kind == "end" and self._open:
            self.n_instructions -= not self._open.pop()
        return shown


def is_page_number(text: str, has_field: bool) -> bool:
    """Whether a line of a page header says only which page this is."""
    left = _PAGE_WORDS.sub("", text)
    return not left and (has_field or any(ch.isalpha() for ch in text))


def _whole_fields(root: Any) -> dict[Any, bool]:
    """The beginnings of fields that end, too, and whether each has a result.

    One that never ends would swallow the rest of the text. What stands in one without a result is text after all.
    """
    whole: dict[Any, bool] = {}
    begun: list[tuple[Any, bool]] = []
    removed = {long(name) for name in REMOVED}
    for mark in root.iter(long("w:fldChar")):
        kind = mark.get(long("w:fldCharType"))
        if any(each.tag in removed for each in mark.iterancestors()):
            continue
        if kind == "begin":
            begun.append((mark, False))
        elif kind == "separate" and begun:
            begun[-1] = (begun[-1][0], True)
        elif kind == "end" and begun:
            mark, has_result = begun.pop()
            whole[mark] = has_result
    return whole


def _form_value(begin: Any) -> str:
    """What a box to tick or a list to choose from of an old form shows; '' for another field."""
    data = child(begin, "w:ffData")
    if (box := child(data, "w:checkBox")) is not None:
        state = child(box, "w:checked")
        return "☒" if is_on(child(box, "w:default") if state is None else state) else "☐"
    if (choices := child(data, "w:ddList")) is not None:
        entries = [each.get(long("w:val"), "") for each in choices.findall(long("w:listEntry"))]
        chosen = child(choices, "w:result")
        at = number(chosen.get(long("w:val"))) if chosen is not None else 0
        return entries[at] if 0 <= at < len(entries) else ""
    return ""
