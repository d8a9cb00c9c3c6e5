"""The characters of a PDF's page and where they stand, by pypdfium2."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import re
from dataclasses import dataclass, field

from rag.documents.document import ticked
from rag.documents.formats.office.symbol_fonts import PRIVATE, lettered
from rag.documents.formats.pdf.view import Box, View

HYPHEN = "\x02"  # how pdfium writes a hyphen at a line's end, the line break left out
SOFT_HYPHEN = "\u00ad"
_NO_TEXT = re.compile(r"[\x00\x01\x03-\x08\x0e-\x1f\x7f\u00ad\ufeff\ufffe\uffff\u200b]")
_HYPHEN_IN_TEXT = "\ufffe"  # the same, in the text as a whole
_LETTER_GAP = 0.12  # heights of a line
_FIRST_IDEOGRAPH = "\u2e80"
_FIXED_PITCH = 1  # flag of a font
_TYPEWRITER = re.compile(r"mono|courier|consol|typewriter|menlo|fixed|(?:[a-z]tt|tt)\d+$|[_ -]?code", re.I)
_FONT_NAME = ctypes.create_string_buffer(256)  # for pdfium to write to
_LINE = re.compile(rf"[^\n{HYPHEN}]+{HYPHEN}?|{HYPHEN}")
_WORD = re.compile(rf"[^\s{HYPHEN}]+{HYPHEN}?|{HYPHEN}")
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}


@dataclass(slots=True)
class Line:
    """A line of a page; without a box where nothing says where it stands (a recognised page)."""

    text: str
    box: Box | None = None
    alone: bool = False  # no part of the paragraph before or behind it
    wide_gaps: tuple[bool, bool] = (False, False)  # behind its first word, before its last


@dataclass(slots=True)
class Table:
    """Rows of cells; `edges` are where columns begin and the last one ends; `header` holds the rows that name them."""

    rows: list[list[str]]
    box: Box
    edges: tuple[float, ...] = ()
    header: list[list[str]] = field(default_factory=list)
    is_set_apart: bool = False  # the first row, by its font


Item = Line | Table


@dataclass(slots=True)
class Word:
    """Characters without a space between them, from number `start` up to `end`, and the box around them."""

    start: int
    end: int
    box: Box


@dataclass(slots=True)
class Glyphs:
    """The characters of a page in the order of the file; boxes are asked for where they are needed.

    "\\n" ends a line and has no place, nor have spaces that pdfium made up. `added` holds the boxes of characters that
    are not in the file's own text (values of a form).
    """

    text: str
    view: View
    source: list[int]  # the number of each character at pdfium, -1 for one that was added
    raw: object = None
    added: dict[int, Box] = field(default_factory=dict)
    known: dict[int, Box | None] = field(default_factory=dict)

    def box(self, i: int) -> Box | None:
        """The box of a character, None for one without a place."""
        if i not in self.known:
            n = self.source[i]
            self.known[i] = self.added.get(i) if n < 0 else self._ask(n)
        return self.known[i]

    def _ask(self, n: int) -> Box | None:
        ask, rectangle, place = _char_box()
        if not ask(self.raw, n, place):
            return None
        view = self.view
        if view.rotation:
            box = view.box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
        else:  # said at once: it is asked thousands of times
            left, top = view.left, view.top
            box = (rectangle.left - left, top - rectangle.top, rectangle.right - left, top - rectangle.bottom)
        return box if box[2] > box[0] and box[3] > box[1] else None

    def with_rows_apart(self) -> Glyphs:
        """The characters with a line's end wherever one stands below the one before it.

        Pdfium writes a column of single digits in one line on pages of little text: 9, 8 and 7 become 987.
        """
        places = [place for start, end in self.spans() for place in self._falls(start, end)]
        if not places:
            return self
        cuts = [0, *places, len(self.text)]
        text = "\n".join(self.text[a:b] for a, b in itertools.pairwise(cuts))
        source = list(self.source)
        for place in reversed(places):
            source.insert(place, -1)
        return Glyphs(text, self.view, source, self.raw)

    def _falls(self, start: int, end: int) -> list[int]:
        """The characters of a line that stand below those before them, upright and further left than their end."""
        ends = self.ends(start, end)
        if ends is None or not _is_below(self.box(ends[1]), self.box(ends[0])):
            return []
        filled = [i for i in range(ends[0], ends[1] + 1) if self.text[i].strip() and self.box(i) is not None]
        return [
            b
            for a, b in itertools.pairwise(filled)
            if _is_below(self.box(b), self.box(a), is_further_left=True)
            and not (
                self.text[a] >= _FIRST_IDEOGRAPH and self.text[b] >= _FIRST_IDEOGRAPH
            )  # they are written downwards
            and self._is_upright(b)
        ]

    def _is_upright(self, i: int) -> bool:
        from pypdfium2.raw import FPDFText_GetCharAngle

        turns = round(FPDFText_GetCharAngle(self.raw, self.source[i]) / (math.pi / 2))
        return -90 * turns % 360 == self.view.rotation

    def insert(self, place: int, text: str, box: Box) -> None:
        """Put a text before the character at `place`; its characters share the width of a box, spaces around aside."""
        self.known = {i + len(text) if i >= place else i: known for i, known in self.known.items()}
        first, n_visible = len(text) - len(text.lstrip()), max(len(text.strip()), 1)
        width = (box[2] - box[0]) / n_visible
        self.added = {i + len(text) if i >= place else i: known for i, known in self.added.items()}
        for n in range(n_visible):
            self.added[place + first + n] = (box[0] + n * width, box[1], box[0] + (n + 1) * width, box[3])
        self.text = self.text[:place] + text + self.text[place:]
        self.source[place:place] = [-1] * len(text)

    def spans(self) -> list[tuple[int, int]]:
        """The lines: (first, behind the last) character of each; a hyphen that divides a word ends one."""
        return [match.span() for match in _LINE.finditer(self.text)]

    def words(self, start: int, end: int) -> list[Word]:
        """The words among the characters from `start` to `end` that have a place."""
        found = []
        for match in _WORD.finditer(self.text, start, end):
            first, behind = match.span()
            left = self.box(first)
            if left is not None:
                found.append(Word(first, behind, _around(left, self.box(behind - 1) or left)))
        return found

    def pieces(self, word: Word) -> list[Word]:
        """A word where gaps part its characters: what stands in two cells is written without a space sometimes."""
        pieces: list[Word] = []
        for i in range(word.start, word.end):
            box = self.box(i)
            if box is None:
                continue
            last = pieces[-1] if pieces else None
            if last is not None and box[0] - last.box[2] <= _LETTER_GAP * (box[3] - box[1]):
                pieces[-1] = Word(last.start, i + 1, _around(last.box, box))
            else:
                pieces.append(Word(i, i + 1, box))
        return pieces

    def font(self, i: int) -> tuple[str, bool]:
        """The name of a character's font, "" for one that was added; and whether all its characters have one width."""
        from pypdfium2.raw import FPDFText_GetFontInfo

        if self.source[i] < 0:
            return "", False
        flags = ctypes.c_int(0)
        n_bytes = FPDFText_GetFontInfo(self.raw, self.source[i], _FONT_NAME, len(_FONT_NAME), flags)
        name = _FONT_NAME.value.decode("utf-8", "replace") if 0 < n_bytes <= len(_FONT_NAME) else ""
        return name, bool(flags.value & _FIXED_PITCH or _TYPEWRITER.search(name))

    def ends(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and the last character with a place among `start` to `end`, None where all are spaces."""
        while start < end and (self.text[start].isspace() or self.box(start) is None):
            start += 1
        while end > start and (self.text[end - 1].isspace() or self.box(end - 1) is None):
            end -= 1
        return (start, end - 1) if end > start else None


@functools.cache
def _char_box():
    """Pdfium's function, the rectangle that it writes to, and its place: one for the process, as for its one thread."""
    from pypdfium2.raw import FS_RECTF, FPDFText_GetLooseCharBox

    rectangle = FS_RECTF()
    return FPDFText_GetLooseCharBox, rectangle, ctypes.byref(rectangle)


def read_glyphs(text_page, view: View) -> Glyphs:
    """The characters of a text page of pypdfium2."""
    from pypdfium2.raw import FPDFText_GetText, FPDFText_GetUnicode

    n_chars = text_page.count_chars()
    if n_chars <= 0:
        return Glyphs("", view, [])
    buffer = (ctypes.c_ushort * (n_chars + 1))()
    written = FPDFText_GetText(text_page.raw, 0, n_chars, buffer) - 1
    text = bytes(buffer)[: 2 * n_chars].decode("utf-16-le", "replace")
    if written != n_chars or len(text) != n_chars:  # more or fewer than characters
        text = _whole([FPDFText_GetUnicode(text_page.raw, n) for n in range(n_chars)])
    glyphs = Glyphs(text.replace(_HYPHEN_IN_TEXT, HYPHEN), view, list(range(n_chars)), text_page.raw)
    if PRIVATE.search(text):
        glyphs.text = lettered(glyphs.text, lambda i: glyphs.font(i)[0])
    return glyphs


def _whole(units: list[int]) -> str:
    """The text of characters; of a pair of surrogates the second is made a NUL, which `plain` leaves out."""
    chars: list[str] = []
    for n, unit in enumerate(units):
        follows = units[n + 1] if n + 1 < len(units) else 0
        if 0xD800 <= unit < 0xDC00 and 0xDC00 <= follows < 0xE000:
            chars.append(chr(0x10000 + ((unit - 0xD800) << 10) + (follows - 0xDC00)))
        else:
            chars.append("\0" if 0xD800 <= unit < 0xE000 or unit > 0x10FFFF else chr(unit))
    return "".join(chars)


def _is_below(box: Box | None, other: Box | None, is_further_left: bool = False) -> bool:
    """Whether a character stands in a row below another; `is_further_left` asks that it begins before that ends."""
    if box is None or other is None:
        return False
    height = min(box[3] - box[1], other[3] - other[1])
    is_left = box[0] < other[2] - 0.1 * height
    return (box[1] + box[3]) - (other[1] + other[3]) > 1.4 * height and (is_left or not is_further_left)


def _around(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def plain(text: str) -> str:
    """A text without soft hyphens and control characters; hyphens at line ends stay marked."""
    if text.isascii() and text.isprintable():
        return text
    return ticked(_NO_TEXT.sub("", text).translate(_LIGATURES))


def line_of(glyphs: Glyphs, start: int, end: int) -> Line | None:
    """The line of characters from `start` to `end`; None where it is empty or stands off the page."""
    text = glyphs.text[start:end]
    soft = text.rstrip().endswith("\u00ad")
    text = plain(text.strip()).strip() + (SOFT_HYPHEN if soft else "")
    found = glyphs.ends(start, end) if text else None
    if found is None:
        return Line(text) if text else None
    first, last = glyphs.box(found[0]), glyphs.box(found[1])
    if first is None or last is None:
        return Line(text)
    box = _around(first, last)
    width, height = glyphs.view.size
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return Line(text, box) if -1 <= x <= width + 1 and -1 <= y <= height + 1 else None
