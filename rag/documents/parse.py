"""One file becomes a Document: text, Markdown, HTML, PDF, DOCX, PPTX, XLSX, CSV, EPUB, JSON lines.

A file is read for what it holds, whatever its name says. Every failure is an UnreadableFile whose words can be shown.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import json
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from rag.documents.document import Block, BlockKind, Document, TextBuilder, titled
from rag.documents.recognise import MAX_PAGES, recognise_page, usable, why_not
from rag.errors import UnreadableFile

MAX_UNPACKED_BYTES = 512 * 2**20
MAX_PACKED_RATIO = 200
MAX_LINE_CHARACTERS = 1_000_000
TEXT_SUFFIXES = {
    **dict.fromkeys((".md", ".markdown", ".mkd"), "markdown"),
    **dict.fromkeys((".htm", ".html", ".xhtml"), "html"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".txt", ".text", ".rst", ".adoc", ".org", ".log", ".tex", ".asc", ""), "text"),
}
PACKED_SUFFIXES = {".pdf": "pdf", ".docx": "docx", ".pptx": "pptx", ".xlsx": "xlsx", ".epub": "epub"}
SUFFIXES = {**TEXT_SUFFIXES, **PACKED_SUFFIXES}
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_HTML_START = re.compile(
    rb"^\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).){0,2000}-->\s*){0,5}<(?:!doctype\s+html|html|head|body)\b",
    re.I | re.S,
)
_SKIPPED_TAGS = {"script", "style", "noscript", "template", "svg", "iframe", "object", "button", "select", "textarea"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror or error}") from error
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadableFile("changed while it was read; run again")
    if not data.strip():
        raise UnreadableFile("empty")
    kind = sniff(data, path.suffix.lower())
    parse = _PARSERS[kind]
    if kind == "pdf":
        parse = functools.partial(_parse_pdf, ocr_languages=ocr_languages, ocr_seconds=ocr_seconds, alive=alive)
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
    if not document.title:
        return dataclasses.replace(document, title=path.stem)
    return document


def sniff(data: bytes, suffix: str) -> str:
    """The kind of a file by its first bytes, and where these say nothing by its suffix. Raises UnreadableFile."""
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        return _sniff_zip(data)
    if data.startswith(OLD_OFFICE):
        raise UnreadableFile("an old or encrypted Office file; save it as .docx, .pptx or .xlsx without a password")
    if b"\x00" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableFile("not a text, and none of the kinds that are read")
    if suffix in PACKED_SUFFIXES:
        raise UnreadableFile(f"named {suffix}, but does not hold such a file")
    if _HTML_START.match(data[:4096]):
        return "html"
    return TEXT_SUFFIXES.get(suffix, "text")


def _sniff_zip(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnreadableFile(f"damaged archive ({error})") from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_PACKED_RATIO * max(len(data), 2**20):
        raise UnreadableFile(f"would unpack to {unpacked / 2**20:,.0f} MiB; more than is taken")
    if any(entry.flag_bits & 1 for entry in entries):
        raise UnreadableFile("encrypted")
    names = {entry.filename for entry in entries}
    for name, kind in (("word/document.xml", "docx"), ("ppt/presentation.xml", "pptx"), ("xl/workbook.xml", "xlsx")):
        if name in names:
            return kind
    if "META-INF/container.xml" in names:
        return "epub"
    raise UnreadableFile("an archive; unpack it first")


def decode(data: bytes) -> str:
    """Text from bytes: UTF-8, UTF-16 with its mark, else what charset-normalizer takes it for."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return _clean(data.decode(encoding, "replace"))
    try:
        return _clean(data.decode("utf-8"))
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(data[: 2**18]).best()
        return _clean(data.decode(best.encoding if best else "latin-1", "replace"))


def _clean(text: str) -> str:
    """Unix line ends, no control characters, no surrogates; lengths may change, so offsets count in the result."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\v", "\n")
    return re.sub(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufeff]", "", text)


def _parse_text(data: bytes) -> Document:
    """Paragraphs between blank lines; a line underlined by =, -, ~ or ^ is a heading, as in reStructuredText."""
    text, blocks, levels = decode(data), [], []
    for match in re.finditer(r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*", text):
        lines = list(re.finditer(r"[^\n]+", match[0]))
        start = match.start()
        if len(lines) >= 3 and _is_rule(lines[0][0]) and _is_rule(lines[2][0]):
            lines = lines[1:]
        if len(lines) >= 2 and _is_rule(lines[1][0]) and len(lines[1][0].strip()) >= len(lines[0][0].strip()) > 1:
            mark = lines[1][0].strip()[0]
            if mark not in levels:
                levels.append(mark)
            blocks += _block("heading", text, start + lines[0].start(), start + lines[0].end(), levels.index(mark) + 1)
            lines = lines[2:]
        if lines:
            blocks += _block("text", text, start + lines[0].start(), match.end())
    return titled(Document("text", "", text, tuple(blocks)))


def _block(kind: BlockKind, text: str, start: int, end: int, level: int = 0, header: int = 0) -> list[Block]:
    """The block at `text[start:end]` without the whitespace around it; none where there is nothing else."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end = start + len(piece.strip())
    return [Block(kind, start, end, level, header=header)] if end > start else []


def _is_rule(line: str) -> bool:
    line = line.strip()
    return len(line) >= 3 and len(set(line)) == 1 and line[0] in "=-~^*#\"'"


def _parse_markdown(data: bytes) -> Document:
    """Blocks as CommonMark has them; their text stays as it is written, so that places in the file are exact."""
    from markdown_it import MarkdownIt

    text, title = decode(data), ""
    front = re.match(r"\A---\n(.*?)\n---\n", text, re.S)
    if front and (named := re.search(r"^title:\s*(.+)$", front[1], re.M)):
        title = named[1].strip("\"' ")
    skipped = front.end() if front else 0
    offsets = [skipped]
    for line in text[skipped:].split("\n"):
        offsets.append(offsets[-1] + len(line) + 1)
    blocks = []
    for token in MarkdownIt("commonmark").enable("table").parse(text[skipped:]):
        if token.level or token.map is None or token.type == "hr":
            continue
        start, end = offsets[token.map[0]], min(offsets[token.map[1]], len(text))
        if token.type == "heading_open":
            heading = re.match(r"\s*#*\s*(.*?)\s*(?:#+\s*)?(?:\n|\Z)", text[start:end])
            blocks += _block("heading", text, start + heading.start(1), start + heading.end(1), int(token.tag[1]))
        elif token.type == "table_open":
            blocks += _block("table", text, start, end, header=2)
        elif token.type in ("fence", "code_block"):
            blocks += _block("code", text, start, end)
        elif token.type == "html_block":
            if any(ch.isalnum() for ch in re.sub(r"<[^>]*>|<!--.*?-->", "", text[start:end], flags=re.S)):
                blocks += _block("text", text, start, end)
        else:
            blocks += _block("text", text, start, end)
    return titled(Document("markdown", title, text, tuple(blocks)))


def _parse_html(data: bytes) -> Document:
    builder = TextBuilder()
    title = add_html(builder, data)
    return builder.document("html", title)


def add_html(builder: TextBuilder, data: bytes, *, page: int | None = None) -> str:
    """Append the main part of a page, its menus and scripts left out; returns its title.

    The main part is the one <main>, role=main or <article>, if it holds at least a third of the text, else the body.
    """
    from lxml import html

    parser = html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    root = html.document_fromstring(decode(data).encode("utf-8"), parser=parser)
    title = " ".join((root.findtext(".//title") or "").split())
    for element in root.xpath(".//*"):
        if not isinstance(element.tag, str) or element.tag in _SKIPPED_TAGS:
            element.drop_tree()
    body = root.find("body")
    body = root if body is None else body
    for element in body.xpath('.//*[self::nav or self::footer or @role="navigation" or @role="search"]'):
        if element.getparent() is not None:
            element.drop_tree()
    for element in body.xpath('.//a[contains(concat(" ", @class, " "), " headerlink ")]'):
        element.drop_tree()
    whole = len(body.text_content())
    mains = body.xpath('.//main | .//*[@role="main"]') or body.xpath(".//article")
    main = mains[0] if len(mains) == 1 and 3 * len(mains[0].text_content()) >= whole else body
    _walk_html(main, builder, page)
    return title


def _walk_html(element, builder: TextBuilder, page: int | None) -> None:
    """Append the blocks below an element in the order of the page; loose text becomes paragraphs of its own."""
    loose: list[str] = []

    def flush() -> None:
        builder.add("text", " ".join("".join(loose).split()), page=page)
        loose.clear()

    def visit(node) -> None:
        loose.append(node.text or "")
        for child in node:
            tag = child.tag if isinstance(child.tag, str) else ""
            if tag in _HEADINGS:
                flush()
                builder.add("heading", " ".join(child.text_content().split()), level=_HEADINGS[tag], page=page)
            elif tag == "pre":
                flush()
                builder.add("code", child.text_content(), page=page)
            elif tag == "table" and not child.xpath(".//table") and len(child.xpath(".//tr")) > 1:
                flush()
                for caption in child.xpath("./caption"):
                    builder.add("text", " ".join(caption.text_content().split()), page=page)
                rows = [[cell.text_content() for cell in row.xpath("./td | ./th")] for row in child.xpath(".//tr")]
                builder.table(rows, page=page)
            elif tag == "br":
                loose.append("\n")
            elif tag in _INLINE_TAGS:
                visit(child)
            elif tag:
                flush()
                visit(child)
                flush()
            loose.append(child.tail or "")

    visit(element)
    flush()


_INLINE_TAGS = {
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins"),
    *(
        "kbd",
        "label",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    ),
}


def _parse_csv(data: bytes) -> Document:
    builder = TextBuilder()
    builder.table(list(_csv_rows(decode(data))))
    return builder.document("csv", "")


def _csv_rows(text: str) -> Iterator[list[str]]:
    try:
        dialect = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(MAX_LINE_CHARACTERS)
    yield from csv.reader(io.StringIO(text), dialect)


def _parse_jsonl(data: bytes) -> Document:
    """A line a section: its title or id as the heading, its text as text; other fields as `name: value`."""
    builder = TextBuilder()
    for number, line in enumerate(decode(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnreadableFile(f"line {number} is not valid JSON") from error
        if not isinstance(row, dict):
            builder.add("text", str(row))
            continue
        title = next((str(row[key]) for key in ("title", "name", "question", "id", "_id") if row.get(key)), "")
        builder.add("heading", title, level=1)
        body = next((str(row[key]) for key in ("text", "body", "content", "answer") if row.get(key)), "")
        rest = [f"{key}: {value}" for key, value in row.items() if isinstance(value, str | int | float) and not body]
        builder.add("text", body or "\n".join(rest))
    return builder.document("jsonl", "")


def _parse_pdf(
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
            text = _clean(text_page.get_text_bounded())
            text_page.close()
            if not text.strip() and not reason and tried < MAX_PAGES:
                alive()
                tried += 1
                text, problem = recognise_page(page, ocr_languages, ocr_seconds)
                text = _clean(text)
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


def _parse_docx(data: bytes) -> Document:
    from docx import Document as open_docx
    from docx.table import Table

    docx, builder = open_docx(io.BytesIO(data)), TextBuilder()
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
    """The text of a paragraph or cell as it reads now: with insertions, without what was deleted."""
    parts = []
    for node in element.xpath(".//w:t | .//w:tab | .//w:br | .//w:cr | .//w:p"):
        name = node.tag.rsplit("}", 1)[1]
        parts.append({"t": node.text or "", "tab": "\t"}.get(name, "\n"))
    return _clean("".join(parts)).strip()


def _parse_pptx(data: bytes) -> Document:
    from pptx import Presentation

    deck, builder = Presentation(io.BytesIO(data)), TextBuilder()
    for number, slide in enumerate(deck.slides, 1):
        title = slide.shapes.title
        if title is not None:
            builder.add("heading", _clean(title.text_frame.text), level=1, page=number)
        for shape in _shapes(slide.shapes):
            if title is not None and shape.shape_id == title.shape_id:
                continue
            if shape.has_text_frame:
                builder.add("text", _clean(shape.text_frame.text), page=number)
            elif getattr(shape, "has_table", False):
                builder.table([[cell.text for cell in row.cells] for row in shape.table.rows], page=number)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            builder.add("text", _clean(slide.notes_slide.notes_text_frame.text), page=number)
    return builder.document("pptx", deck.core_properties.title or "")


def _shapes(shapes) -> Iterator:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _parse_xlsx(data: bytes) -> Document:
    """A sheet a page; formulas as the values that were last computed."""
    from openpyxl import load_workbook

    book, builder = load_workbook(io.BytesIO(data), read_only=True, data_only=True), TextBuilder()
    try:
        for number, sheet in enumerate(book.worksheets, 1):
            rows = [
                ["" if value is None else _clean(str(value)) for value in row]
                for row in sheet.iter_rows(values_only=True)
            ]
            rows = [row for row in rows if any(cell.strip() for cell in row)]
            if rows:
                builder.add("heading", sheet.title, level=1, page=number)
                builder.table(rows, page=number)
    finally:
        book.close()
    return builder.document("xlsx", book.properties.title or "")


def _parse_epub(data: bytes) -> Document:
    """Chapters in the order of the spine."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    missing = 0
    builder, names = TextBuilder(), {"o": "http://www.idpf.org/2007/opf", "d": "http://purl.org/dc/elements/1.1/"}
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        container = etree.fromstring(book.read("META-INF/container.xml"), parser)
        package_path = container.xpath("string(//*[local-name()='rootfile']/@full-path)")
        package = etree.fromstring(book.read(package_path), parser)
        title = package.findtext(".//d:title", "", names)
        items = {item.get("id"): item.get("href") for item in package.iterfind(".//o:manifest/o:item", names)}
        folder = PurePosixPath(package_path).parent
        for reference in package.iterfind(".//o:spine/o:itemref", names):
            href = items.get(reference.get("idref"))
            if href:
                chapter = posixpath.normpath(str(folder / unquote(href.split("#")[0])))
                if chapter in book.namelist():
                    add_html(builder, book.read(chapter))
                else:
                    missing += 1
    notes = (f"{missing} chapters are not in the file",) if missing else ()
    return builder.document("epub", title or "", notes)


_PARSERS: dict[str, Callable[[bytes], Document]] = {
    "text": _parse_text,
    "markdown": _parse_markdown,
    "html": _parse_html,
    "csv": _parse_csv,
    "jsonl": _parse_jsonl,
    "pdf": _parse_pdf,
    "docx": _parse_docx,
    "pptx": _parse_pptx,
    "xlsx": _parse_xlsx,
    "epub": _parse_epub,
}
