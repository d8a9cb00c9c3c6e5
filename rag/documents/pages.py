"""A page of a PDF as a picture, with marks where a piece of its text stands."""

from __future__ import annotations

import hashlib
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import UnreadableFile

LONGEST_SIDE_PIXELS = 1600
PIXELS_A_POINT = 2.0

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
            if not 1 <= number <= len(pdf):
                raise UnreadableFile(f"has no page {number}")
            page = pdf[number - 1]
            width, height = page.get_size()
            scale = min(PIXELS_A_POINT, LONGEST_SIDE_PIXELS / max(width, height, 1))
            bitmap = page.render(scale=scale)
            picture = io.BytesIO()
            bitmap.to_pil().convert("RGB").save(picture, "PNG", optimize=True)
            marks = _marks(page, bitmap, text)
            return PageImage(number, len(pdf), bitmap.width, bitmap.height, picture.getvalue(), marks)
    except pdfium.PdfiumError as error:
        raise UnreadableFile(f"damaged PDF ({error})") from error


def _marks(page, bitmap, text: str) -> tuple[Box, ...]:
    """The boxes of the lines of a text on a page, none where it is not found."""
    from pypdfium2.raw import FPDFText_GetUnicode

    text_page = page.get_textpage()
    try:
        span = _find([chr(FPDFText_GetUnicode(text_page, n)) for n in range(text_page.count_chars())], text)
        count = text_page.count_rects(span[0], span[1] - span[0]) if span else 0
        boxes = [text_page.get_rect(n) for n in range(count)]
    finally:
        text_page.close()
    place = bitmap.get_posconv(page)
    marks = []
    for left, bottom, right, top in boxes:
        (x0, y0), (x1, y1) = place.to_bitmap(left, top), place.to_bitmap(right, bottom)
        x0, x1 = sorted((x0, x1))  # a turned page turns them
        y0, y1 = sorted((y0, y1))
        marks.append((x0 / bitmap.width, y0 / bitmap.height, (x1 - x0) / bitmap.width, (y1 - y0) / bitmap.height))
    return tuple(marks)


def _find(characters: Sequence[str], text: str) -> tuple[int, int] | None:
    """Where a text begins and ends among the characters of a page: by its letters and digits alone."""
    letters: list[str] = []
    rows: list[int] = []
    for row, character in enumerate(characters):
        for letter in _letters(character):
            letters.append(letter)
            rows.append(row)
    wanted = _letters(text)
    start = "".join(letters).find(wanted) if wanted else -1
    if start < 0:
        return None
    return rows[start], rows[start + len(wanted) - 1] + 1


def _letters(text: str) -> str:
    return "".join(ch for ch in unicodedata.normalize("NFKD", text).casefold() if ch.isalnum())
