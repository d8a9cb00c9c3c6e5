"""PDF: text by pypdfium2, and by Tesseract where a page is a picture of its text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rag.documents.decode import clean
from rag.documents.document import Document, TextBuilder
from rag.documents.ocr import MAX_PAGES, recognise_page, usable, why_not
from rag.errors import UnreadableFile

EDGE_LINES = 2  # of a page's top and foot, where headers and footers stand
LEAST_PAGES_WITH_RUNNING_LINES = 4


@dataclass(slots=True)
class _Pages:
    """The text of every page, and what became of those that have none."""

    texts: list[str] = field(default_factory=list)
    why_not: str = ""  # what keeps scanned pages from being recognised at all
    n_tried: int = 0
    n_recognised: int = 0
    problems: list[str] = field(default_factory=list)  # with single pages

    @property
    def n_empty(self) -> int:
        return sum(not text.strip() for text in self.texts)

    @property
    def reason(self) -> str:
        """Why pages are empty, or ""."""
        if self.problems and not self.n_recognised:
            return self.problems[0]
        return self.why_not


def parse_pdf(
    data: bytes, ocr_languages: str = "", ocr_seconds: float = 100.0, alive: Callable[[], None] = lambda: None
) -> Document:
    """Paragraphs page by page, hyphenated line ends joined; pages without text recognised where that is possible.

    Lines that repeat on most pages (headers, footers) are left out, and pictures are lost. Headings and tables are not
    distinguished from other text. Notes say how many pages were recognised, or could not be. Arguments as for
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
        title = (pdf.get_metadata_dict(skip_empty=True).get("Title") or "").strip()
        pages = _read_pages(pdf, ocr_languages, ocr_seconds, alive)
    if pages.n_empty == len(pages.texts) and not pages.n_recognised and pages.reason:
        raise UnreadableFile(f"holds no text (scanned pages are not read: {pages.reason})")
    builder = TextBuilder()
    running = _running_lines(pages.texts)
    for number, text in enumerate(pages.texts, 1):
        for paragraph in _paragraphs(_without_running(text.split("\n"), running)):
            builder.add("text", paragraph, page=number)
    document = builder.document("pdf", "" if title.lower() == "untitled" else title, tuple(_notes(pages)))
    has_scanned = pages.n_empty > 0 or pages.n_recognised > 0
    return dataclasses.replace(document, ocr=usable(ocr_languages) if has_scanned else None)


def _read_pages(pdf, ocr_languages: str, ocr_seconds: float, alive: Callable[[], None]) -> _Pages:
    pages = _Pages(why_not=why_not(ocr_languages))
    for page in pdf:
        text_page = page.get_textpage()
        text = clean(text_page.get_text_bounded())
        text_page.close()
        if not text.strip() and not pages.why_not and pages.n_tried < MAX_PAGES:
            alive()
            pages.n_tried += 1
            recognised, problem = recognise_page(page, ocr_languages, ocr_seconds)
            text = clean(recognised)
            if text.strip():
                pages.n_recognised += 1
            if problem:
                pages.problems.append(problem)
        pages.texts.append(text)
        page.close()
    return pages


def _notes(pages: _Pages) -> Iterator[str]:
    """What a reader of the document should know about its pages."""
    n_pages = len(pages.texts)
    if pages.n_recognised:
        yield f"{pages.n_recognised} of {n_pages} pages are scanned: recognised by Tesseract, mistakes are likely"
    if pages.problems:
        yield f"{len(pages.problems)} pages could not be recognised (the first: {pages.problems[0]})"
    if pages.n_empty and pages.n_tried == MAX_PAGES:
        yield f"only the first {MAX_PAGES:,} pages without text were tried"
    if 0 < pages.n_empty < n_pages:
        scanned = f" (scanned? {pages.reason})" if pages.reason else ""
        yield f"{pages.n_empty} of {n_pages} pages hold no text{scanned}"


def _running_lines(pages: list[str]) -> set[str]:
    """The shapes of first and last lines that most pages share, page numbers aside."""
    if len(pages) < LEAST_PAGES_WITH_RUNNING_LINES:
        return set()
    counts: dict[str, int] = {}
    for page in pages:
        lines = [line for line in page.split("\n") if line.strip()]
        for shape in {_line_shape(line) for line in (*lines[:EDGE_LINES], *lines[-EDGE_LINES:])}:
            counts[shape] = counts.get(shape, 0) + 1
    return {shape for shape, n in counts.items() if n > len(pages) / 2}


def _without_running(lines: list[str], running: set[str]) -> list[str]:
    """A page's lines without those at its top and foot that run through the document."""
    filled = [n for n, line in enumerate(lines) if line.strip()]
    edge = {*filled[:EDGE_LINES], *filled[-EDGE_LINES:]}
    return [line.rstrip() for n, line in enumerate(lines) if n not in edge or _line_shape(line) not in running]


def _line_shape(line: str) -> str:
    """A line by which others like it are known: its numbers do not matter, nor do its spaces."""
    return re.sub(r"\d+", "#", " ".join(line.split()))


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
    """The text of lines, with words that a hyphen divides at a line's end put together."""
    text = ""
    for line in lines:
        if re.search(r"[a-z]-$", text) and line[:1].islower():
            text = text[:-1] + line
        else:
            text = f"{text} {line}" if text else line
    return text
