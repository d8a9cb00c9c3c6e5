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


def parse_html(data: bytes) -> Document:
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


def parse_epub(data: bytes) -> Document:
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
