"""A page of a PDF as a picture, with marks where a piece of its text stands."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.documents.formats.pdf.forms import Annotations, fill, open_form, read_fields
from rag.documents.formats.pdf.glyphs import Glyphs, read_glyphs
from rag.documents.formats.pdf.view import upright_view, view_of
from rag.errors import UnreadableFile

LONGEST_SIDE_PIXELS = 1600
PIXELS_A_POINT = 2.0
_PIECE_END = re.compile(r"\n+|\s\|\s|(?<=[.!?:;])\s+|\[[x ]\]")
_SHORT = 5  # letters; so short a piece is looked for close behind the one before
_NEAR = 300  # letters

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PageImage:
    """A page in PNG; `marks` are (left, top, width, height) as shares of the page's width and height."""

    number: int
    n_pages: int
    width: int
    height: int
    png: bytes
    marks: tuple[Box, ...]


def render_page(path: str | Path, sha256: str, number: int, text: str) -> PageImage:
    """Page `number` (from 1) of a PDF, marked where `text` stands on it; hyphens, spaces and case do not matter.

    What is filled into its form is drawn and marked, too. A text that does not stand there in one piece (of a table, of
    two pages) is marked sentence by sentence and cell by cell.

    Raises UnreadableFile where the file is gone, is no longer the one that was hashed, or has no such page.
    """
    import pypdfium2 as pdfium

    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadableFile("changed since it was ingested")
    try:
        with pdfium.PdfDocument(data) as pdf:
            form = open_form(pdf)
            if not 1 <= number <= len(pdf):
                raise UnreadableFile(f"has no page {number}")
            page = pdf[number - 1]
            width, height = page.get_size()
            scale = min(PIXELS_A_POINT, LONGEST_SIDE_PIXELS / max(width, height, 1))
            bitmap = page.render(scale=scale)
            picture = io.BytesIO()
            bitmap.to_pil().convert("RGB").save(picture, "PNG", optimize=True)
            marks = _marks(page, form, text)
            return PageImage(number, len(pdf), bitmap.width, bitmap.height, picture.getvalue(), marks)
    except pdfium.PdfiumError as error:
        raise UnreadableFile(f"damaged PDF ({error})") from error


def _marks(page, form, text: str) -> tuple[Box, ...]:
    """The boxes of the lines of a text on a page, none where it is not found."""
    view = view_of(page)
    text_page = page.get_textpage()
    try:
        upright = upright_view(page, text_page)
        glyphs = read_glyphs(text_page, upright)
        fill(glyphs, read_fields(form, page, upright, Annotations()))
        boxes = [box for start, end in _places(glyphs.text, text) for box in _boxes(glyphs, start, end)]
    finally:
        text_page.close()
    boxes = [view.box(*upright.back(x0, y0), *upright.back(x1, y1)) for x0, y0, x1, y1 in boxes]
    width, height = view.size
    return tuple((x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height) for x0, y0, x1, y1 in boxes)


def _boxes(glyphs: Glyphs, start: int, end: int) -> Iterator[Box]:
    """The boxes around the words from `start` to `end`: one for those that stand side by side."""
    current: Box | None = None
    for word in glyphs.words(start, end):
        box = word.box
        if current is not None:
            is_level = abs((current[1] + current[3]) - (box[1] + box[3])) < box[3] - box[1]
            if is_level and 0 <= box[0] - current[2] + 1 < 2 * (box[3] - box[1]):
                current = (current[0], min(current[1], box[1]), box[2], max(current[3], box[3]))
                continue
            yield current
        current = box
    if current is not None:
        yield current


def _places(page_text: str, text: str) -> list[tuple[int, int]]:
    """Where a text stands among the characters of a page: in one piece, or its sentences, lines and cells in order."""
    if whole := _find(page_text, text):
        return [whole]
    letters, rows = _letters_of(page_text)
    places = []
    position = 0
    for piece in _PIECE_END.split(text):
        wanted = _letters(piece)
        if not wanted:
            continue
        start = letters.find(wanted, position, position + _NEAR if len(wanted) < _SHORT else len(letters))
        if start < 0 and len(wanted) >= _SHORT:
            start = letters.find(wanted)
        if start >= 0:
            position = start + len(wanted)
            places.append((rows[start], rows[position - 1] + 1))
    return places


def _find(characters: Sequence[str], text: str) -> tuple[int, int] | None:
    """Where a text begins and ends among the characters of a page: by its letters and digits alone."""
    letters, rows = _letters_of(characters)
    wanted = _letters(text)
    start = letters.find(wanted) if wanted else -1
    if start < 0:
        return None
    return rows[start], rows[start + len(wanted) - 1] + 1


def _letters_of(characters: Sequence[str]) -> tuple[str, list[int]]:
    """The letters and digits of characters, and the character that each is of."""
    letters: list[str] = []
    rows: list[int] = []
    for row, character in enumerate(characters):
        for letter in _letters(character):
            letters.append(letter)
            rows.append(row)
    return "".join(letters), rows


def _letters(text: str) -> str:
    return "".join(ch for ch in unicodedata.normalize("NFKD", text).casefold() if ch.isalnum())
