"""Signs that stand in a text while it becomes HTML: where a citation stands, and where a mark begins and ends.

They are punctuation that nobody writes, so that Markdown reads what stands beside them as beside any bracket. Where a
foreign text holds them, other brackets take their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CITE, CITE_END = "⸨", "⸩"
MARK, MARK_END = "⸢", "⸣"
SIGNS = CITE + CITE_END + MARK + MARK_END
_CITATION = re.compile(f"{CITE}([0-9]{{1,4}}){CITE_END}")
_ANY = re.compile(f"{CITE}([0-9]{{1,4}}){CITE_END}|[{SIGNS}]")
_HIDDEN = dict.fromkeys([n for n in (*range(32), *range(127, 160)) if chr(n) not in "\n\t"], None)
_ORDERS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], None)  # of the direction of writing
_INSTEAD = {ord(CITE): "((", ord(CITE_END): "))", ord(MARK): "⌈", ord(MARK_END): "⌉"}
_CLEAN: dict[int, str | None] = {**_HIDDEN, **_ORDERS, **_INSTEAD}
_WITHOUT = dict.fromkeys(map(ord, SIGNS), None)


def clean(text: str) -> str:
    """A foreign text without our signs, control characters and orders that turn the direction of writing.

    Its length may change; line ends are `\\n`.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CLEAN)


def citation(number: int) -> str:
    """The sign of a citation of source `number`, from 1."""
    return f"{CITE}{number}{CITE_END}"


def citations_in(text: str) -> list[int]:
    """The sources that are cited in a text, in order."""
    return [int(match[1]) for match in _CITATION.finditer(text)]


def without_signs(text: str) -> str:
    """A text without citations and marks."""
    return _CITATION.sub("", text).translate(_WITHOUT)


def parts(text: str) -> Iterator[tuple[str, str]]:
    """(text, sign behind it) in order; the sign is the number of a source, `MARK`, `MARK_END` or ""."""
    start = 0
    for match in _ANY.finditer(text):
        sign = match[1] or match[0]
        yield text[start : match.start()], sign if sign not in (CITE, CITE_END) else ""
        start = match.end()
    yield text[start:], ""
