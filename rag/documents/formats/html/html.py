"""HTML: the part of a page that a reader came for, as headings, paragraphs, tables and preformatted text."""

from __future__ import annotations

from collections.abc import Iterator

from rag.documents.decode import declared_charset, decode_noted
from rag.documents.document import MAX_TITLE_CHARACTERS, Document, TextBuilder
from rag.documents.formats.html.parts import drop_only_code, drop_unread, heading_outside, main_part
from rag.documents.formats.html.tables import add_table
from rag.documents.formats.html.text import Words, lines_as_written, text_of
from rag.documents.formats.html.tree import HEADINGS, Events, Node, Tree, read_tree

MIN_CHARACTERS_NOTED = 200
"""Running text outside a page's main part is noted from this length on."""

_PREFORMATTED = {"pre", "xmp", "listing", "plaintext"}
_PARTS_OF_A_PAGE = {*HEADINGS, *_PREFORMATTED, "ul", "ol", "dl", "table", "blockquote", "section", "article", "hr"}
MAX_HEADING_OF_BLOCKS = 300
"""A heading that is longer and holds paragraphs was never closed: its first line is the heading, the rest is text."""


def parse_html(data: bytes) -> Document:
    """The main part of a page: headings, paragraphs, list items, tables, and preformatted text as code.

    Menus, the page's footer, scripts, forms, pictures, and the targets of links are lost. What images say in words is
    text, and so are questions that open a panel, and the panels.
    """
    text, notes = decode_noted(data, declared_charset(data))
    tree = read_tree(text)
    title = _title(tree)
    drop_unread(tree)
    part, n_outside = main_part(tree)
    builder = TextBuilder()
    if len(title) > MAX_TITLE_CHARACTERS:
        builder.add("text", title)
    if (heading := heading_outside(tree, part, title)) is not None:
        _Walk(builder).over(heading)
    _Walk(builder).through(part)
    if n_outside >= MIN_CHARACTERS_NOTED:
        notes += (f"about {n_outside:,} characters outside the page's main part were left out",)
    return builder.document("html", title, notes)


def read_chapter(data: bytes) -> tuple[Tree, tuple[str, ...]]:
    """The tree of a chapter of a book, and notes on its encoding. A chapter has no menus, and its footers are text."""
    text, notes = decode_noted(data, declared_charset(data))
    tree = read_tree(text, xhtml=True)
    drop_only_code(tree)
    return tree, notes


def add_chapter(builder: TextBuilder, tree: Tree) -> None:
    """Append the whole of a chapter to a text."""
    _Walk(builder).through(tree.root)


def _title(tree: Tree) -> str:
    for node in tree.nodes:
        if node.tag == "title" and (node.parent is None or node.parent.tag != "svg"):
            return node.own_text
    return ""


class _Walk:
    """Appends the blocks below an element in the order of the page. Loose text becomes paragraphs of its own."""

    def __init__(self, builder: TextBuilder):
        self._builder = builder
        self._words = Words()
        self._level = 0  # of a heading that goes on until its first line ends

    def over(self, node: Node) -> None:
        """Append an element itself."""
        if self._open(node):
            self.through(node)

    def through(self, node: Node) -> None:
        """Append what is inside an element."""
        events = Events(node)
        for kind, child, text in events:
            if kind == "text":
                self._words.add(text)
            elif kind == "close":
                self._close(child)
            elif not self._open(child):
                events.skip()
        self._end_paragraph()

    def _open(self, node: Node) -> bool:
        """Returns whether what is inside an element is still to come."""
        if node.dropped or not node.is_block:
            return self._words.open(node)
        self._end_paragraph()
        if node.tag in HEADINGS:
            if not _was_never_closed(node):
                self._builder.add("heading", text_of(node), level=HEADINGS[node.tag])
                self._level = 0
                return False
            self._level = HEADINGS[node.tag]
        elif node.tag in _PREFORMATTED:
            self._builder.add("code", lines_as_written(node))
            return False
        elif node.tag == "table":
            return not add_table(self._builder, node)
        return True

    def _close(self, node: Node) -> None:
        if node.is_block:
            self._end_paragraph()
            self._level = 0 if node.tag in HEADINGS else self._level
        else:
            self._words.close(node)

    def _end_paragraph(self) -> None:
        text = " ".join(self._words.take().split())
        if text and self._level:
            self._builder.add("heading", text, level=self._level)
            self._level = 0
        else:
            self._builder.add("text", text)


def _was_never_closed(heading: Node) -> bool:
    """Whether a heading holds lists, tables or other headings, or paragraphs that are too long for one."""
    if any(child.tag in _PARTS_OF_A_PAGE for child in _opened(heading)):
        return True
    return heading.size > MAX_HEADING_OF_BLOCKS and any(child.tag in ("p", "div") for child in _opened(heading))


def _opened(node: Node) -> Iterator[Node]:
    return (child for kind, child, _ in Events(node) if kind == "open" and not child.dropped)
