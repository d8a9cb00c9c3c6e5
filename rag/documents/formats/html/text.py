"""The text of a part of a page as a reader sees it: its lines, with a space wherever two words stand apart."""

from __future__ import annotations

import itertools
import re

from rag.documents.decode import clean
from rag.documents.formats.html.tree import Events, Node

_REPLACED = {"img", "area", "svg", "math"}
_RUBY = {"ruby", "rt", "rtc", "rp"}
_APART = {"input", "select", "textarea", "button", "object", "iframe", "video", "audio", "canvas", "embed"}
_FILE_NAME = re.compile(r"[\w%().-]+\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?|avif)", re.I)
_NO_ALT = re.compile(
    r"(?:image|img|photo|picture|thumbnail|spacer|untitled)[\s_\d-]{0,9}|(?:\S{1,30}\s){0,4}(?:logo|icon|avatar|badge)",
    re.I,
)
_NUMBER = re.compile(r"\s*[-+−]?\d{1,4}(?:[.,]\d{1,4})?\s*")
_BEFORE_A_NOTE = re.compile(r"[a-zß-öø-ÿ]{4}$|[.,;:!?)\"”»]$")
_MARK_BEFORE_SECOND = {"msup": "^", "msub": "_", "mfrac": "/", "mroot": "^"}
MAX_ALT_CHARACTERS = 1_000


class Words:
    """Gathers the text of a line from its inline elements.

    A power stands behind ^ (10^6), a number at the foot of another behind _, the number of a note behind a space. The
    reading above Chinese characters follows in parentheses. What an image or a formula says stands in its place.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._raised: list[int] = []
        self._after_raised = False
        self._ruby: list[str] = []  # the open elements of a word with its reading
        self._readings: list[str] = []
        self._last_alt = ""
        self._after_link = False

    def add(self, text: str) -> None:
        """Append text as it stands in the page."""
        inside = self._ruby[-1] if self._ruby else ""
        if not text or inside == "rp":
            return
        if inside in ("rt", "rtc"):
            self._readings.append(text)
            return
        if self._readings and not inside:
            self._end_readings()
        self._after_link = False
        if self._after_raised:
            self._after_raised = False
            text = f" {text}" if text[0].isdigit() else text
        self._parts.append(text)

    def open(self, node: Node) -> bool:
        """An inline element begins; returns whether what is inside it is still to come."""
        tag = node.tag
        if node.dropped:
            self.add(" " if tag in _APART else "")
        elif _is_replaced(node):
            self._replaced(node)
        elif tag == "br":
            self.add("\n")
        elif tag in ("input", "del", "s", "strike"):
            self.add(" ")
        elif tag == "q":
            self.add("“")
        elif tag in ("sup", "sub"):
            self._raised.append(len(self._parts))
        elif tag in _RUBY:
            self._ruby.append(tag)
        elif tag == "a" and self._after_link and self._ends_with_a_letter():
            self.add(" ")  # links of a menu stand apart without a space between them
        return not node.dropped and not _is_replaced(node)

    def close(self, node: Node) -> None:
        """An inline element ends that was open."""
        if node.tag in ("sup", "sub") and self._raised:
            self._raise(self._raised.pop(), node)
        elif node.tag in _RUBY and self._ruby:
            self._ruby.pop()
        elif node.tag in ("del", "s", "strike"):
            self.add(" ")
        elif node.tag == "q":
            self.add("”")
        elif node.tag == "a":
            self._after_link = True

    def take(self) -> str:
        """The text so far, which begins anew."""
        self._end_readings()
        text = "".join(self._parts)
        self._parts = []
        self._raised = []
        self._after_raised = False
        return clean(text.replace("\xad", ""))

    def _ends_with_a_letter(self) -> bool:
        last = self._parts[-1][-1:] if self._parts else ""
        return last.isalnum() and last < "\u2e80"

    def _end_readings(self) -> None:
        reading = " ".join("".join(self._readings).split())
        self._readings = []
        if reading:
            self._parts.append(f"({reading})")

    def _replaced(self, node: Node) -> None:
        text = formula(node) if node.tag == "math" else alternative(node)
        if text and (node.tag == "math" or text != self._last_alt):
            self.add(text if len(text) <= 2 else f" {text} ")
            self._last_alt = text

    def _raise(self, start: int, node: Node) -> None:
        """Keep the number of a power, an index or a note apart from the word that it stands at."""
        inner = self._parts[start : start + 4]
        before = next((part for part in reversed(self._parts[max(start - 3, 0) : start]) if part), "")
        is_linked = node.tag == "sup" and _links_to_a_note(node)
        is_number = _NUMBER.fullmatch("".join(inner)[:16]) is not None
        if len(self._parts) - start > 3 or not (is_number or is_linked) or not before:
            return
        is_note = is_linked or (node.tag == "sup" and _BEFORE_A_NOTE.search(before[-8:]) is not None)
        if before[-1].isdigit():
            self._parts.insert(start, " " if is_note else "^" if node.tag == "sup" else "_")
        elif is_note:
            self._parts.insert(start, " ")
        self._after_raised = True


def _is_replaced(node: Node) -> bool:
    """Whether an element is an image or a formula; not where the words of a drawing, or paragraphs, stand in it."""
    if node.tag not in _REPLACED or (node.tag == "svg" and node.size):
        return False
    return not any(child.tag in ("p", "div", "table", "ul", "ol") for child in node.elements())


def _links_to_a_note(node: Node) -> bool:
    around = [node.parent, *node.elements()]
    return any(each is not None and each.tag == "a" and each.get("href").startswith("#") for each in around)


def lines_of(node: Node) -> list[str]:
    """The lines of what is inside an element, the space in each made single; none of them is empty."""
    words = Words()
    lines: list[str] = []

    def end_line() -> None:
        if line := " ".join(words.take().split()):
            lines.append(line)

    events = Events(node)
    for kind, child, text in events:
        if kind == "text":
            words.add(text)
        elif child.is_block:
            end_line()
        elif kind == "close":
            words.close(child)
        elif not words.open(child):
            events.skip()
    end_line()
    return lines


def text_of(node: Node) -> str:
    """What is inside an element as one line."""
    return " ".join(lines_of(node))


def lines_as_written(node: Node) -> str:
    """The text of preformatted text: spaces and lines as they are, and a line for each block inside it.

    So has each of two pieces of code that follow each other directly.
    """
    words = Words()
    after_code = False
    parts: list[str] = []

    def end_line() -> None:
        if text := words.take():
            parts.append(text if text.endswith("\n") else f"{text}\n")

    events = Events(node)
    for kind, child, text in events:
        if kind == "text":
            words.add(text)
        elif child.is_block or (kind == "open" and child.tag == "code" and after_code):
            end_line()
        elif kind == "close":
            words.close(child)
        elif child.tag == "input" or not words.open(child):
            events.skip()
        after_code = kind == "close" and child.tag == "code"
    end_line()
    return "".join(parts)


def alternative(node: Node) -> str:
    """What an image says in words: its alternative text, unless that names a file or repeats its caption or link."""
    if node.get("aria-hidden") == "true" or node.get("role") in ("presentation", "none"):
        return ""
    text = node.get("alt") or node.get("aria-label")
    if not text and node.tag == "svg" and node.get("role") == "img":
        text = next((child.own_text for child in node.children if isinstance(child, Node) and child.tag == "title"), "")
    text = " ".join(text.split())[:MAX_ALT_CHARACTERS]
    if not text or _FILE_NAME.fullmatch(text) or _NO_ALT.fullmatch(text):
        return ""
    return "" if _stands_beside(node, text) else text


def _stands_beside(node: Node, text: str) -> bool:
    """Whether the link or the figure that an image stands in says the same in words."""
    above = node.parent
    for _ in range(4):
        if above is None:
            return False
        if above.tag in ("a", "figure", "button", "li", "td", "p"):
            is_short = 0 < above.size < 2_000
            return is_short and text.casefold() in beginning_of(above).casefold()
        above = above.parent
    return False


def beginning_of(node: Node) -> str:
    """The text of an element's first hundreds of events."""
    events = itertools.islice(Events(node), 300)
    parts = (text if kind == "text" else " " * child.is_block for kind, child, text in events)
    return " ".join("".join(parts).split())


def formula(node: Node) -> str:
    """A formula of MathML: its TeX where it is given, else its letters, with ^, _ and / before what is raised."""
    parts: list[str] = []
    events = Events(node)
    tex: list[str] = []
    for kind, child, text in events:
        if kind == "text":
            (tex if child.tag == "annotation" else parts).append("" if text.isspace() else text)
        elif kind == "open":
            is_tex = child.tag == "annotation" and "tex" in child.get("encoding").lower()
            if child.tag in ("annotation", "annotation-xml") and not is_tex:
                events.skip()
            elif child.parent is not None and (mark := _MARK_BEFORE_SECOND.get(child.parent.tag)):
                parts.append(mark if _is_second(child) else "")
    return " ".join(("".join(tex) or node.get("alttext") or "".join(parts)).split())


def _is_second(node: Node) -> bool:
    siblings = node.parent.children if node.parent is not None else []
    elements = [each for each in itertools.islice(siblings, 8) if isinstance(each, Node)]
    return len(elements) > 1 and elements[1] is node
