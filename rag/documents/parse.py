"""One file becomes a Document: text, Markdown, HTML, PDF, DOCX, PPTX, XLSX, CSV, EPUB, JSON lines.

A file is read as what it holds, whatever its name says. Every failure is an UnreadableFile whose words can be shown.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

from rag.documents.document import Document
from rag.documents.formats.html.epub import parse_epub
from rag.documents.formats.html.html import parse_html
from rag.documents.formats.office.docx import parse_docx
from rag.documents.formats.office.pptx import parse_pptx
from rag.documents.formats.office.xlsx import parse_xlsx
from rag.documents.formats.pdf.pdf import parse_pdf
from rag.documents.formats.rows.delimited import parse_csv
from rag.documents.formats.rows.json_lines import parse_jsonl
from rag.documents.formats.text import parse_markdown, parse_text
from rag.documents.scan import readable
from rag.documents.sniff import sniff, suffix_of, unpacked
from rag.errors import UnreadableFile

PARSERS: dict[str, Callable[[bytes], Document]] = {
    "text": parse_text,
    "markdown": parse_markdown,
    "html": parse_html,
    "csv": parse_csv,
    "jsonl": parse_jsonl,
    "pdf": parse_pdf,
    "docx": parse_docx,
    "pptx": parse_pptx,
    "xlsx": parse_xlsx,
    "epub": parse_epub,
}
"""The parser of each kind of file; `sniff` says which kind a file is of."""

MAX_CHARACTERS = 2**27
"""So long may a document's text be, and so many blocks may it have: it goes through the main process, too."""

MAX_BLOCKS = 2**21


def parse_file(
    path: str | Path,
    sha256: str = "",
    ocr_languages: str = "",
    ocr_seconds: float = 100.0,
    alive: Callable[[], None] = lambda: None,
) -> Document:
    """The document in a file. Raises UnreadableFile with the reason; its title is the file's name where it has none.

    With `sha256` the bytes read must be those that were hashed. Pages of a PDF without text are recognised by Tesseract
    in `ocr_languages` (`eng+deu`), none where that is empty, each in at most `ocr_seconds`; `alive` is called before
    each.
    """
    path = Path(path)
    data = unpacked(_read(path, sha256))
    kind = sniff(data, suffix_of(path.name))
    parse = PARSERS[kind]
    if kind == "pdf":  # the one kind whose pages may be pictures of text
        parse = functools.partial(parse_pdf, ocr_languages=ocr_languages, ocr_seconds=ocr_seconds, alive=alive)
    try:
        document = parse(data)
    except UnreadableFile:
        raise
    except MemoryError as error:
        raise UnreadableFile("takes more memory than it may") from error
    except Exception as error:  # parsers of hostile formats raise anything
        raise UnreadableFile(f"damaged {kind} file ({type(error).__name__}: {str(error)[:120]})") from error
    if not any(ch.isalnum() for ch in document.text):
        raise UnreadableFile("holds no text")
    if len(document.text) > MAX_CHARACTERS or len(document.blocks) > MAX_BLOCKS:
        n_characters, n_blocks = len(document.text), len(document.blocks)
        raise UnreadableFile(
            f"holds {n_characters:,} characters in {n_blocks:,} paragraphs; split it into several files"
        )
    if not document.title:
        return dataclasses.replace(document, title=readable(path.stem))
    return document


def _read(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        reason = f"cannot be read: {'gone since it was found' if gone else error.strerror or error}"
        raise UnreadableFile(reason) from error
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadableFile("changed while it was read; run again")
    if not data.strip():
        raise UnreadableFile("empty")
    return data
