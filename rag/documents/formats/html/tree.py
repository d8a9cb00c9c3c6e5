"""A page of HTML as a tree of its own: nesting of any depth is read, and tags that nobody closed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

HEADINGS = {f"h{level}": level for level in range(1, 7)}
_ROLES = {
    "table": "table",
    "grid": "table",
    "treegrid": "table",
    "rowgroup": "tbody",
    "row": "tr",
    "cell": "td",
    "gridcell": "td",
    "columnheader": "th",
    "rowheader": "th",
}
_INLINE = (
    "a abbr acronym area b bdi bdo big blink cite code data del dfn em font i img ins kbd label map mark math meter "
    "nobr output picture progress q rb rp rt rtc ruby s samp slot small span strike strong sub sup time tt u var wbr "
    "br source track embed link meta param input select textarea svg canvas audio video iframe object script style "
    "template noscript datalist option"
)
_INLINE_TAGS = set(_INLINE.split())
_SHOWN_AS_BLOCK = re.compile(r"display\s*:\s*(?:block|flex|grid|table|list-item)", re.I)
_XHTML = "http://www.w3.org/1999/xhtml"

_VOID = {"wbr", "source", "track", "embed", "keygen"}  # those that libxml2 does not know to be empty
_ENDS_CELL = {"td": ("td", "th"), "th": ("td", "th"), "tr": ("tr",)}
_MOST_TAGS_IN_A_CELL = 200
_SWALLOWING = [(b"<!--", b"-->")] + [
    (b"<" + name, b"</" + name)
    for name in b"title textarea noscript select svg template object iframe canvas audio video".split()
]
_OPEN = -2

Event = tuple[Literal["open", "text", "close"], "Node", str]


class Node:
    """An element: its tag without a prefix, its attributes, and its children in order, elements and text.

    `dropped` says why it is not read, and is empty where it is. `size` and `link_size` count the characters of its text
    that are no space, and those of them in links; `own_size` those outside the elements in it. `place` is its number in
    the page, `last` that of the last element inside it. The flags say what it stands in: a link, a section of its own
    (an article, a quotation), a heading, something that is not read.
    """

    __slots__ = (
        "attributes",
        "children",
        "dropped",
        "in_heading",
        "in_link",
        "in_section",
        "last",
        "left_out",
        "link_size",
        "own_size",
        "parent",
        "place",
        "size",
        "tag",
    )

    def __init__(self, tag: str, attributes: dict[str, str], parent: Node | None):
        self.tag = tag
        self.attributes = attributes
        self.parent = parent
        self.children: list[Node | str] = []
        self.dropped = ""
        self.own_size = self.size = self.link_size = 0
        self.place = -1
        self.last = _OPEN
        self.in_heading = self.in_link = self.in_section = self.left_out = False

    def get(self, name: str) -> str:
        """An attribute's value; "" where there is none."""
        return self.attributes.get(name, "")

    @property
    def words(self) -> str:
        """The element's class and id in lower case."""
        return f"{self.get('class')} {self.get('id')}".lower()

    @property
    def is_block(self) -> bool:
        """Whether text before and after it is not of one line. Tags that nobody knows are blocks."""
        if self.tag in _INLINE_TAGS:
            return "style" in self.attributes and bool(_SHOWN_AS_BLOCK.search(self.attributes["style"]))
        return ":" not in self.tag  # Word's marks, such as o:p, stand inside lines

    def is_inside(self, other: Node) -> bool:
        """Whether it is the other element or stands in it."""
        return other.parent is None or other.place <= self.place <= other.last

    @property
    def own_text(self) -> str:
        """The element's text without that of the elements in it, its spaces made single."""
        return " ".join("".join(child for child in self.children if isinstance(child, str)).split())

    def elements(self) -> list[Node]:
        """The children that are elements and are read."""
        return [child for child in self.children if isinstance(child, Node) and not child.dropped]


def heading_node(text: str, parent: Node) -> Node:
    """A heading of the first level that the page does not have."""
    node = Node("h1", {}, parent)
    node.children.append(text)
    node.size = node.own_size = len(text)
    return node


class Tree:
    """The elements of a page in the order of the page; `root` is above them all."""

    def __init__(self) -> None:
        self.root = Node("#root", {}, None)
        self.nodes: list[Node] = []
        self.ids: dict[str, Node] = {}


class Events:
    """What is below an element in order, by a loop: elements open and close, text stands between.

    Dropped elements open too, but are never entered. After an opening, `skip` leaves out what is inside, and the
    closing.
    """

    def __init__(self, node: Node):
        self._node = node
        self._skips = False

    def skip(self) -> None:
        """Do not enter the element that was just opened."""
        self._skips = True

    def __iter__(self) -> Iterator[Event]:
        stack = [(self._node, iter(self._node.children))]
        while stack:
            node, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
                if stack:
                    yield "close", node, ""
            elif isinstance(child, str):
                yield "text", node, child
            else:
                yield "open", child, ""
                if not child.dropped and not self._skips:
                    stack.append((child, iter(child.children)))
                self._skips = False


class _Builder:
    """Receives libxml2's events, which are balanced whatever the page is; its own trees end at 2,048 levels."""

    def __init__(self, prefix: str):
        self._tree = Tree()
        self._open = self._tree.root
        self._stack: list[Node] = []  # as libxml2 sees it
        self._prefix = prefix

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        attributes = dict(attributes)
        tag = tag.removeprefix(self._prefix) if self._prefix else tag
        if tag in _ENDS_CELL:
            self._end_cell(_ENDS_CELL[tag])
        node = Node(_tag_of(tag, attributes) if "role" in attributes else tag, attributes, self._open)
        node.place = len(self._tree.nodes)
        if tag in _VOID:
            node.last = node.place
        self._open.children.append(node)
        self._tree.nodes.append(node)
        if name := attributes.get("id"):
            self._tree.ids.setdefault(name, node)
        self._stack.append(node)
        if tag not in _VOID:
            self._open = node

    def end(self, tag: str) -> None:
        node = self._stack.pop()
        if node.last == _OPEN and node.tag not in _VOID:
            self._end(node)

    def _end(self, node: Node) -> None:
        """Close an element with all that is open in it."""
        while True:
            self._open.last = len(self._tree.nodes) - 1
            closed, self._open = self._open, self._open.parent or self._tree.root
            if closed is node or closed is self._tree.root:
                return

    def _end_cell(self, tags: tuple[str, ...]) -> None:
        """Close the cell or row that is open in the innermost table: libxml2 does not, where a tag in it is open."""
        node: Node | None = self._open
        for _ in range(_MOST_TAGS_IN_A_CELL):
            if node is None or node.tag in ("table", "tbody", "thead", "tfoot"):
                return
            if node.tag in tags:
                self._end(node)
                return
            if node.tag == "tr":
                return
            node = node.parent

    def data(self, text: str) -> None:
        self._open.children.append(text)
        if not text.isspace():
            self._open.own_size += len(text) - text.count(" ")

    def close(self) -> Tree:
        return self._tree


def read_tree(text: str, *, xhtml: bool = False) -> Tree:
    """The tree of a page. Comments are left out; in XHTML what stands in a CDATA section is text."""
    from lxml import etree

    prefix = ""
    if xhtml or _XHTML in text[:4096]:
        text = _without_cdata(text)
        found = re.search(r"xmlns:([\w.-]{1,40})\s*=\s*[\"']" + re.escape(_XHTML), text[:4096])
        prefix = f"{found[1].lower()}:" if found else ""
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, target=_Builder(prefix))
    return etree.fromstring(_mended(text.encode("utf-8", "replace")), parser)


def _mended(page: bytes) -> bytes:
    """The page without the openings that nobody closed of a title, a list to choose from and the like.

    Each would swallow the rest of the page. They stand behind the last closing tag of their name.
    """
    lower = page.lower()
    for opening, closing in _SWALLOWING:
        last_closing = max(lower.rfind(closing), 0)
        if lower.rfind(opening) > last_closing:
            tag = opening if opening == b"<!--" else opening + rb"(?![\w-])[^<>]{0,1000}>?"
            page = page[:last_closing] + re.sub(tag, b" ", page[last_closing:], flags=re.I)
            lower = page.lower()
    return page


def _without_cdata(text: str) -> str:
    """The page with the text of its CDATA sections as plain text."""
    first, *others = text.split("<![CDATA[")
    parts = [first]
    for other in others:
        inside, end, after = other.partition("]]>")
        parts.append(inside.replace("&", "&amp;").replace("<", "&lt;") + after if end else other)
    return "".join(parts)


def _tag_of(tag: str, attributes: dict[str, str]) -> str:
    """The tag that an element stands for by its role: a heading, or a part of a table."""
    role = attributes["role"].strip().lower()
    if role == "heading" and tag not in HEADINGS:
        level = attributes.get("aria-level", "2").strip()
        return f"h{min(max(int(level), 1), 6)}" if level.isascii() and level.isdigit() else "h2"
    if role in ("presentation", "none") and tag in HEADINGS:
        return "div"
    return _ROLES.get(role, tag) if tag in ("div", "span", "section", "ul", "li", "p") else tag
