"""DOCX, PPTX and XLSX. Pictures, charts, comments and macros are lost; nothing in a file is ever run."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from rag.documents.decode import clean
from rag.documents.document import Document, TextBuilder


def parse_docx(data: bytes) -> Document:
    """Headings by their style, paragraphs, and tables with a row a line, in order, without pages.

    The text as it reads now: with insertions, without what was deleted. Headers, footers, footnotes and the numbers of
    lists are lost.
    """
    from docx import Document as open_docx
    from docx.table import Table

    docx = open_docx(io.BytesIO(data))
    builder = TextBuilder()
    for block in _docx_blocks(docx):
        if isinstance(block, Table):
            builder.table([[_docx_text(cell._tc) for cell in row.cells] for row in block.rows])
            continue
        style = (block.style.name or "") if block.style is not None else ""
        text = _docx_text(block._p)
        if match := re.fullmatch(r"Heading (\d)", style):
            builder.add("heading", text, level=int(match[1]))
        elif style == "Title":
            builder.add("heading", text, level=1)
        else:
            builder.add("text", text)
    return builder.document("docx", docx.core_properties.title or "")


def _docx_blocks(docx) -> Iterator:
    """Paragraphs and tables in order, those inside content controls too."""
    from docx.table import Table
    from docx.text.paragraph import Paragraph

    for element in docx.element.body.xpath(".//w:p[not(ancestor::w:tbl)] | .//w:tbl[not(ancestor::w:tbl)]"):
        made = Table if element.tag.endswith("}tbl") else Paragraph
        yield made(element, docx)


def _docx_text(element) -> str:
    """The text of a paragraph or cell as it reads now."""
    parts = []
    for node in element.xpath(".//w:t | .//w:tab | .//w:br | .//w:cr | .//w:p"):
        name = node.tag.rsplit("}", 1)[1]
        parts.append({"t": node.text or "", "tab": "\t"}.get(name, "\n"))
    return clean("".join(parts)).strip()


def parse_pptx(data: bytes) -> Document:
    """A slide is a page: its title as the heading, the text and tables of its shapes, then the speaker's notes."""
    from pptx import Presentation

    deck = Presentation(io.BytesIO(data))
    builder = TextBuilder()
    for number, slide in enumerate(deck.slides, 1):
        title = slide.shapes.title
        if title is not None:
            builder.add("heading", clean(title.text_frame.text), level=1, page=number)
        for shape in _shapes(slide.shapes):
            if title is not None and shape.shape_id == title.shape_id:
                continue
            if shape.has_text_frame:
                builder.add("text", clean(shape.text_frame.text), page=number)
            elif getattr(shape, "has_table", False):
                builder.table([[cell.text for cell in row.cells] for row in shape.table.rows], page=number)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            builder.add("text", clean(slide.notes_slide.notes_text_frame.text), page=number)
    return builder.document("pptx", deck.core_properties.title or "")


def _shapes(shapes) -> Iterator:
    """The shapes of a slide, those inside groups too."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def parse_xlsx(data: bytes) -> Document:
    """A sheet is a page: its name as the heading, and its rows as one table whose first row names the columns.

    A formula is kept as the value that was last computed; one that never was is lost. So are empty rows and formats.
    """
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    builder = TextBuilder()
    try:
        for number, sheet in enumerate(book.worksheets, 1):
            rows = [
                ["" if value is None else clean(str(value)) for value in row]
                for row in sheet.iter_rows(values_only=True)
            ]
            rows = [row for row in rows if any(cell.strip() for cell in row)]
            if rows:
                builder.add("heading", sheet.title, level=1, page=number)
                builder.table(rows, page=number)
    finally:
        book.close()
    return builder.document("xlsx", book.properties.title or "")
