"""Passages as HTML: rendered, re-flowed, the sentence that answers marked."""

from __future__ import annotations

import functools
import re

from rag.serve.view.markdown import markdown_html
from rag.serve.view.plain import as_markdown, escaped, speaks_markdown
from rag.serve.view.signs import MARK, MARK_END, clean
from rag.types import Passage, Span

MAX_SHOWN = 3_000
AROUND = 1_200
"""Of a passage with more characters than `MAX_SHOWN`, so many around the sentence are shown."""

HEADING_IN_CARD = 5
_MARKER = re.compile(r"[\s>#*+|•‣◦▪–-]{0,40}(?:\(?\d{1,3}[.)]\s+)?[\s*_|]{0,10}")
_LAST_FENCE = re.compile(r"\n[ ]{0,3}(?:`{3,}|~{3,})\s*\Z")


def passage_html(passage: Passage, sentence: Span | None) -> str:
    """A passage as HTML, with `sentence`, in characters of its text, in <mark>; a long one is cut around it."""
    low, high = _window(passage.text, sentence)
    text = passage.text[low:high]
    inside = (sentence[0] - low, min(sentence[1], high) - low) if sentence else None
    shown = _rendered(text, speaks_markdown(passage.source, text), inside)
    before = '<p class="cut">…</p>' if low else ""
    after = '<p class="cut">…</p>' if high < len(passage.text) else ""
    return f"{before}{shown}{after}"


def line_html(line: str, is_markdown: bool, mark: Span | None = None, first_mark: str = "") -> str:
    """A line, as a sentence or a heading, as HTML without a paragraph around it; `mark` is marked."""
    signed = with_mark(line, mark)
    written = signed if is_markdown else escaped(signed)
    shown = markdown_html(written, first_mark=first_mark, formulas=is_markdown)
    return shown.removeprefix('<p dir="auto">').removesuffix("</p>") if shown.count("<p") == 1 else shown


@functools.lru_cache(maxsize=512)
def _rendered(text: str, is_markdown: bool, mark: Span | None) -> str:
    signed = with_mark(text, mark)
    written, formulas = (signed, True) if is_markdown else (as_markdown(signed), False)
    return markdown_html(written, formulas=formulas, heading=HEADING_IN_CARD, keeps_lines=not is_markdown)


def with_mark(text: str, mark: Span | None) -> str:
    """A foreign text, cleaned, with the signs of a mark: behind the marker of a list or heading, before a fence."""
    if mark is None or not text[mark[0] : mark[1]].strip():
        return clean(text)
    start, end = mark
    is_first_in_line = not text[:start].rpartition("\n")[2].strip()
    if is_first_in_line and (marker := _MARKER.match(text, start, end)) and marker.end() < end:
        start = marker.end()
    inside = text[start:end].rstrip().rstrip("|").rstrip()
    if fence := _LAST_FENCE.search(inside[-80:]):
        inside = inside[: len(inside) - len(fence[0])]
    return f"{clean(text[:start])}{MARK}{clean(inside)}{MARK_END}{clean(text[start + len(inside) :])}"


def _window(text: str, sentence: Span | None) -> Span:
    """The part of a passage that is shown; it begins and ends between words."""
    if len(text) <= MAX_SHOWN:
        return 0, len(text)
    start, end = sentence or (0, 0)
    low, high = max(start - AROUND, 0), min(end + AROUND, len(text), start + MAX_SHOWN)
    if not sentence:
        high = MAX_SHOWN
    while 0 < low < start and not text[low - 1].isspace() and start - low > AROUND // 2:
        low += 1
    while end < high < len(text) and not text[high].isspace() and high - end > AROUND // 2:
        high -= 1
    return low, high
