"""PDF: text, forms and tables by pypdfium2; text by Tesseract where a page is a picture of its text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rag.documents.decode import clean
from rag.documents.document import Document, TextBuilder
from rag.documents.formats.pdf.forms import Annotations, open_form, read_fields
from rag.documents.formats.pdf.glyphs import HYPHEN, SOFT_HYPHEN, Item, Line, Table
from rag.documents.formats.pdf.hyphens import Hyphens
from rag.documents.formats.pdf.layout import read_items
from rag.documents.formats.pdf.running import note_of, without_running
from rag.documents.formats.pdf.tables import n_header_rows, surely_names
from rag.documents.formats.pdf.view import upright_view
from rag.documents.ocr import MAX_PAGES, recognise_page, usable, why_not
from rag.documents.titles import sound_title
from rag.errors import UnreadableFile

_SAME_COLUMN = 4.0  # points between the columns of a table on one page and on the next


@dataclass(slots=True)
class _Pages:
    """What stands on every page, and what became of those that hold no text."""

    items: list[list[Item]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # the numbers that the file gives its pages
    beside: Annotations = field(default_factory=Annotations)
    is_dynamic_form: bool = False
    why_not: str = ""  # what keeps scanned pages from being recognised at all
    n_damaged: int = 0
    n_tried: int = 0
    n_recognised: int = 0
    problems: list[str] = field(default_factory=list)  # with single pages

    @property
    def n_empty(self) -> int:
        return sum(not _has_text(items) for items in self.items) - self.n_damaged

    @property
    def reason(self) -> str:
        """Why pages are empty, or ""."""
        if self.problems and not self.n_recognised:
            return self.problems[0]
        return self.why_not


def parse_pdf(
    data: bytes, ocr_languages: str = "", ocr_seconds: float = 100.0, alive: Callable[[], None] = lambda: None
) -> Document:
    """Paragraphs and tables page by page; pages without text recognised where that is possible.

    Values of forms stand behind their labels. Words that a line's end divides are put together. Lines that run through
    the document (headers, footers) are kept once. Headings are not distinguished from other text; pictures and comments
    are lost. Notes say what was left out, and how many pages were recognised, or could not be. Arguments as for
    `parse_file`.
    """
    import pypdfium2 as pdfium

    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableFile("encrypted; save it without a password") from error
        raise UnreadableFile(f"damaged PDF ({error})") from error
    with pdf:
        title = sound_title(pdf.get_metadata_dict(skip_empty=True).get("Title") or "")
        pages = _read_pages(pdf, ocr_languages, ocr_seconds, alive)
    if pages.items and pages.n_damaged == len(pages.items):
        raise UnreadableFile("damaged PDF (no page can be read)")
    if pages.n_empty == len(pages.items) and not pages.n_recognised and pages.reason:
        raise UnreadableFile(f"holds no text (scanned pages are not read: {pages.reason})")
    kept, running = without_running(pages.items, pages.labels)
    builder = TextBuilder()
    _build(builder, kept)
    notes = [*_notes(pages), *([note_of(running)] if running else [])]
    document = builder.document("pdf", title, tuple(notes))
    has_scanned = pages.n_empty > 0 or pages.n_recognised > 0
    return dataclasses.replace(document, ocr=usable(ocr_languages) if has_scanned else None)


def _read_pages(pdf, ocr_languages: str, ocr_seconds: float, alive: Callable[[], None]) -> _Pages:
    import pypdfium2 as pdfium
    import pypdfium2.raw as raw

    form = open_form(pdf)
    pages = _Pages(why_not=why_not(ocr_languages), is_dynamic_form=pdf.get_formtype() == raw.FORMTYPE_XFA_FULL)
    for number in range(len(pdf)):
        try:
            page = pdf[number]
        except pdfium.PdfiumError:
            pages.n_damaged += 1
            pages.items.append([])
            pages.labels.append("")
            continue
        text_page = page.get_textpage()
        view = upright_view(page, text_page)
        if view.rotation != page.get_rotation():  # pdfium reads a page in the order in which it is shown
            text_page.close()
            page.set_rotation(view.rotation)
            text_page = page.get_textpage()
        fields = read_fields(form, page, view, pages.beside)
        items = read_items(page, text_page, view, fields)
        text_page.close()
        if not _has_text(items) and not pages.why_not and pages.n_tried < MAX_PAGES:
            alive()
            pages.n_tried += 1
            recognised, problem = recognise_page(page, ocr_languages, ocr_seconds)
            items = [Line(line) for line in clean(recognised).split("\n")]
            if _has_text(items):
                pages.n_recognised += 1
            if problem:
                pages.problems.append(problem)
        pages.items.append(items)
        pages.labels.append(pdf.get_page_label(number))
        page.close()
    return pages


def _has_text(items: Sequence[Item]) -> bool:
    return any(isinstance(item, Table) or item.text.strip() for item in items)


def _build(builder: TextBuilder, pages: Sequence[list[Item]]) -> None:
    """Add the paragraphs and tables of the pages, hyphens at line ends decided by the words of all of them."""
    words = Hyphens(text for items in pages for item in items for text in _texts(item))
    before: Table | None = None  # the table that the page before ends with
    for number, items in enumerate(pages, 1):
        lines: list[Line] = []
        for n, item in enumerate(items):
            if isinstance(item, Line):
                lines.append(item)
                continue
            _add_text(builder, lines, number, words)
            lines = []
            starts_page = not any(isinstance(each, Table) or not each.alone for each in items[:n])
            _add_table(builder, item, before if starts_page else None, number, words)
            before = None
        _add_text(builder, lines, number, words)
        before = items[-1] if items and isinstance(items[-1], Table) else None


def _texts(item: Item) -> Iterator[str]:
    if isinstance(item, Line):
        yield item.text
    else:
        yield from (cell for row in item.rows for cell in row)


def _add_text(builder: TextBuilder, lines: Sequence[Line], page: int, words: Hyphens) -> None:
    for paragraph in _paragraphs(_spread(lines)):
        builder.add("text", words.mend(paragraph), page=page)


def _spread(lines: Sequence[Line]) -> list[str]:
    """The texts of lines, a blank line around each that stands alone."""
    texts: list[str] = []
    for line in lines:
        texts += ["", line.text.rstrip(), ""] if line.alone else [line.text.rstrip()]
    return texts


def _add_table(builder: TextBuilder, table: Table, before: Table | None, page: int, words: Hyphens) -> None:
    """Add a table; one that goes on with that of the page before begins with its header, too."""
    if before is not None and _goes_on(before, table):
        table.header = before.header
        if table.rows[: len(before.header)] != before.header:
            table.rows[:0] = before.header
        table.is_set_apart = before.is_set_apart
    else:
        table.header = table.rows[: n_header_rows(table.rows)]
    rows = [[words.mend(cell) for cell in row] for row in table.rows]
    lines = [" | ".join(" ".join(cell.split()) for cell in row) for row in rows]
    builder.add("table", "\n".join(lines), page=page, header=len(table.header))


def _goes_on(before: Table, table: Table) -> bool:
    """Whether a table has the columns of one before it, at the same places, whose first row is sure to name them."""
    if before.header and not (before.is_set_apart or surely_names(before.rows) or table.rows[0] == before.rows[0]):
        return False
    pairs = zip(before.edges, table.edges, strict=False)
    return len(before.edges) == len(table.edges) and all(abs(a - b) <= _SAME_COLUMN for a, b in pairs)


def _notes(pages: _Pages) -> Iterator[str]:
    """What a reader of the document should know about its pages."""
    n_pages = len(pages.items)
    if pages.n_recognised:
        yield f"{pages.n_recognised} of {n_pages} pages are scanned: recognised by Tesseract, mistakes are likely"
    if pages.problems:
        yield f"{len(pages.problems)} pages could not be recognised (the first: {pages.problems[0]})"
    if pages.n_empty and pages.n_tried == MAX_PAGES:
        yield f"only the first {MAX_PAGES:,} pages without text were tried"
    if pages.n_damaged:
        yield f"{pages.n_damaged} of {n_pages} pages are damaged and not read"
    if 0 < pages.n_empty < n_pages:
        scanned = f" (scanned? {pages.reason})" if pages.reason else ""
        yield f"{pages.n_empty} of {n_pages} pages hold no text{scanned}"
    if pages.is_dynamic_form:
        yield "a dynamic form (XFA): only what its printed pages show is read"
    if pages.beside.n_passwords:
        yield f"passwords in the form are not read ({pages.beside.n_passwords})"
    if pages.beside.n_stamps:
        yield f"stamps over the text are not read ({pages.beside.n_stamps})"
    if pages.beside.n_comments:
        yield f"comments beside the text are not read ({pages.beside.n_comments})"


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Lines joined to paragraphs: a blank line ends one, and so does a short line that ends a sentence."""
    widest = max((len(line) for line in lines), default=0)
    paragraph: list[str] = []
    for line in lines:
        if not line.strip():
            if paragraph:
                yield _joined(paragraph)
            paragraph = []
            continue
        paragraph.append(line.strip())
        if line.rstrip().endswith((".", ":", "!", "?")) and len(line) < 0.7 * widest:
            yield _joined(paragraph)
            paragraph = []
    if paragraph:
        yield _joined(paragraph)


def _joined(lines: list[str]) -> str:
    """The text of lines; a hyphen that divides a word at a line's end is marked, to be decided later."""
    parts: list[str] = []
    last = ""
    for line in lines:
        if last.endswith((HYPHEN, SOFT_HYPHEN)):
            parts.append(line)
        elif last.endswith(("-", "‐")) and last[-2:-1].isalpha() and line[:1].isalnum():
            parts[-1] = parts[-1][:-1] + HYPHEN
            parts.append(line)
        elif last.endswith(("-", "–")) and last[-2:-1].isdigit() and line[:1].isdigit():
            parts.append(line)  # "1990-" and "1995"
        else:
            parts += [" ", line] if parts else [line]
        last = line
    return "".join(parts)
