"""HTML, and EPUB, which is made of it."""

from __future__ import annotations

import io
import posixpath
import zipfile
from pathlib import PurePosixPath
from urllib.parse import unquote

from rag.documents.decode import decode
from rag.documents.document import Document, TextBuilder

_SKIPPED_TAGS = {"script", "style", "noscript", "template", "svg", "iframe", "object", "button", "select", "textarea"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_INLINE = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small span strong sub "
    "sup time tt u var wbr"
)
_INLINE_TAGS = set(_INLINE.split())
_EPUB_NAMES = {"o": "http://www.idpf.org/2007/opf", "d": "http://purl.org/dc/elements/1.1/"}


def parse_html(data: bytes) -> Document:
    """The main part of a page: headings, paragraphs, list items, tables, and preformatted text as code.

    Menus, page footers, scripts, forms, pictures, and the targets of links are lost.
    """
    builder = TextBuilder()
    title = add_html(builder, data)
    return builder.document("html", title)


def add_html(builder: TextBuilder, data: bytes) -> str:
    """Append the main part of a page to a text; returns the page's title.

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
    n_characters = len(body.text_content())
    mains = body.xpath('.//main | .//*[@role="main"]') or body.xpath(".//article")
    is_main = len(mains) == 1 and 3 * len(mains[0].text_content()) >= n_characters
    _Walk(builder).through(mains[0] if is_main else body)
    return title


class _Walk:
    """Appends the blocks below an element in the order of the page. Loose text becomes paragraphs of its own."""

    def __init__(self, builder: TextBuilder):
        self._builder = builder
        self._loose: list[str] = []

    def through(self, element) -> None:
        self._visit(element)
        self._end_paragraph()

    def _visit(self, element) -> None:
        self._loose.append(element.text or "")
        for child in element:
            tag = child.tag if isinstance(child.tag, str) else ""
            if tag == "br":
                self._loose.append("\n")
            elif tag in _INLINE_TAGS:
                self._visit(child)
            elif tag:
                self._end_paragraph()
                self._block(child, tag)
                self._end_paragraph()
            self._loose.append(child.tail or "")

    def _block(self, element, tag: str) -> None:
        if tag in _HEADINGS:
            self._builder.add("heading", _one_line(element), level=_HEADINGS[tag])
        elif tag == "pre":
            self._builder.add("code", element.text_content())
        elif tag == "table" and not element.xpath(".//table") and len(element.xpath(".//tr")) > 1:
            for caption in element.xpath("./caption"):
                self._builder.add("text", _one_line(caption))
            rows = [[cell.text_content() for cell in row.xpath("./td | ./th")] for row in element.xpath(".//tr")]
            self._builder.table(rows)
        else:  # a table that holds tables, or a single row, is layout
            self._visit(element)

    def _end_paragraph(self) -> None:
        self._builder.add("text", " ".join("".join(self._loose).split()))
        self._loose.clear()


def _one_line(element) -> str:
    return " ".join(element.text_content().split())


def parse_epub(data: bytes) -> Document:
    """The chapters of a book in the order of its spine, each as an HTML page is; without pages.

    Chapters that are listed but not in the file are counted in a note.
    """
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    builder = TextBuilder()
    n_missing = 0
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        container = etree.fromstring(book.read("META-INF/container.xml"), parser)
        package_path = container.xpath("string(//*[local-name()='rootfile']/@full-path)")
        package = etree.fromstring(book.read(package_path), parser)
        title = package.findtext(".//d:title", "", _EPUB_NAMES)
        for chapter in _chapters(package, PurePosixPath(package_path).parent):
            if chapter in book.namelist():
                add_html(builder, book.read(chapter))
            else:
                n_missing += 1
    notes = (f"{n_missing} chapters are not in the file",) if n_missing else ()
    return builder.document("epub", title or "", notes)


def _chapters(package, folder: PurePosixPath) -> list[str]:
    """The names of a book's chapters in its archive, in the order of the spine."""
    items = {item.get("id"): item.get("href") for item in package.iterfind(".//o:manifest/o:item", _EPUB_NAMES)}
    references = package.iterfind(".//o:spine/o:itemref", _EPUB_NAMES)
    links = [items.get(reference.get("idref")) for reference in references]
    return [posixpath.normpath(str(folder / unquote(link.split("#")[0]))) for link in links if link]
