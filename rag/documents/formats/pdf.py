"""PDF."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator

from rag.documents.decode import clean
from rag.documents.document import Document, TextBuilder
from rag.documents.ocr import MAX_PAGES, recognise_page, usable, why_not
from rag.errors import UnreadableFile


def parse_pdf(
    data: bytes, ocr_languages: str = "", ocr_seconds: float = 100.0, alive: Callable[[], None] = lambda: None
) -> Document:
    """Text page by page, hyphenated line ends joined; lines that repeat on most pages (headers, footers) left out.

    Pages without text are recognised where that is possible.
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
        pages, recognised, problems = [], 0, []
        reason, tried = why_not(ocr_languages), 0
        for page in pdf:
            text_page = page.get_textpage()
            text = clean(text_page.get_text_bounded())
            text_page.close()
            if not text.strip() and not reason and tried < MAX_PAGES:
                alive()
                tried += 1
                text, problem = recognise_page(page, ocr_languages, ocr_seconds)
                text = clean(text)
                recognised += bool(text.strip())
                problems += [problem] * bool(problem)
            pages.append(text)
            page.close()
    builder = TextBuilder()
    running = _running_lines(pages)
    for number, text in enumerate(pages, 1):
        lines = _without_running(text.split("\n"), running)
        for paragraph in _paragraphs(lines):
            builder.add("text", paragraph, page=number)
    empty = sum(not page.strip() for page in pages)
    if not recognised and problems:
        reason = problems[0]
    notes = []
    if recognised:
        notes.append(f"{recognised} of {len(pages)} pages are scanned: recognised by Tesseract, mistakes are likely")
    if problems:
        notes.append(f"{len(problems)} pages could not be recognised (the first: {problems[0]})")
    if empty and tried == MAX_PAGES:
        notes.append(f"only the first {MAX_PAGES:,} pages without text were looked at")
    if empty and empty < len(pages):
        notes.append(f"{empty} of {len(pages)} pages hold no text" + f" (scanned? {reason})" * bool(reason))
    if not recognised and empty == len(pages) and reason:
        raise UnreadableFile(f"holds no text (scanned pages are not read: {reason})")
    title = "" if title.lower() in ("", "untitled") else title
    return dataclasses.replace(
        builder.document("pdf", title, tuple(notes)), ocr=usable(ocr_languages) if empty or recognised else None
    )


def _without_running(lines: list[str], running: set[str]) -> list[str]:
    """A page's lines without those at its top and foot that run through the document."""
    filled = [n for n, line in enumerate(lines) if line.strip()]
    edge = {*filled[:2], *filled[-2:]}
    return [line.rstrip() for n, line in enumerate(lines) if n not in edge or _line_shape(line) not in running]


def _line_shape(line: str) -> str:
    return re.sub(r"\d+", "#", " ".join(line.split()))


def _running_lines(pages: list[str]) -> set[str]:
    """First and last lines that most pages share, page numbers aside."""
    if len(pages) < 4:
        return set()
    counts: dict[str, int] = {}
    for page in pages:
        lines = [line for line in page.split("\n") if line.strip()]
        for shape in {_line_shape(line) for line in (*lines[:2], *lines[-2:])}:
            counts[shape] = counts.get(shape, 0) + 1
    return {shape for shape, n in counts.items() if n > len(pages) / 2}


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
    text = ""
    for line in lines:
        if re.search(r"[a-z]-$", text) and line[:1].islower():
            text = text[:-1] + line
        else:
            text = f"{text} {line}" if text else line
    return text
