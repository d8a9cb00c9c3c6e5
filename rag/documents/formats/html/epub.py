"""EPUB: an archive of chapters in HTML, and a package that says in which order they are read."""

from __future__ import annotations

import io
import posixpath
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from rag.documents.document import Document, TextBuilder
from rag.documents.formats.html.html import add_chapter, read_chapter
from rag.documents.formats.html.parts import measure
from rag.documents.formats.html.text import beginning_of, text_of
from rag.documents.formats.html.tree import HEADINGS, Tree, heading_node
from rag.errors import UnreadableFile

ENCRYPTED = "encrypted: its chapters are protected by DRM; ingest a copy without it, or the text in another format"
MAX_NAMED = 3
"""So many chapters that were left out are named in a note; the others are counted."""

MAX_TITLE_OF_CONTENTS = 20
"""So few characters beside a table of contents and its headings are its title: they are left out with it."""

_ENDINGS = (".xhtml", ".html", ".htm")
_NO_CHAPTERS = ("image/", "audio/", "video/", "font/", "text/css", "application/pdf", "application/x-dtbncx")


@dataclass(slots=True)
class _Item:
    """A file of the book as the package lists it; `name` is where it should stand in the archive."""

    name: str
    kind: str
    is_contents: bool
    fallback: str


@dataclass(slots=True)
class _Package:
    """What the package says of a book: its title, its chapters in order, and the pages that list them.

    `files` are the last parts of the chapters' names; `labels` are what the table of contents calls the places in the
    chapters, by these parts: pairs of an id, which may be empty, and a name.
    """

    title: str = ""
    chapters: list[str] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    labels: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def parse_epub(data: bytes) -> Document:
    """The chapters of a book in the order of its spine, then those that the spine forgets; without pages.

    A list of the chapters is left out. A chapter without a heading has the name that the table of contents
    gives it. Chapters that are encrypted, damaged or not in the file are named in notes. Raises UnreadableFile where
    none can be read.
    """
    builder = TextBuilder()
    notes: list[str] = []
    left_out: dict[str, list[str]] = {"encrypted": [], "damaged": [], "not in the file": []}
    read: set[str] = set()
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        names = _Names(book)
        package = _read_package(book, names)
        encrypted = _encrypted(book, names)
        for chapter in package.chapters:
            name = names.find(chapter)
            if name in read:  # the package spells its name in several ways
                continue
            if name is None:
                left_out["not in the file"].append(chapter)
            elif name in encrypted:
                left_out["encrypted"].append(name)
            elif (page := _read(book, name)) is None:
                left_out["damaged"].append(name)
            else:
                notes += [f"{name}: {note}" for note in _add(builder, page, chapter, package)]
            if name is not None:
                read.add(name)
    if not any(ch.isalnum() for ch in builder.text):
        _refuse(left_out)
    notes += [_note(chapters, reason) for reason, chapters in left_out.items() if chapters]
    return builder.document("epub", package.title, tuple(notes))


def _add(builder: TextBuilder, page: bytes, chapter: str, package: _Package) -> tuple[str, ...]:
    """Append a chapter, unless it only lists the others; returns notes on it."""
    tree, notes = read_chapter(page)
    _drop_contents(tree, chapter, package)
    if tree.root.size and not any(node.tag in HEADINGS and node.size for node in tree.nodes):
        _add_headings(tree, package.labels.get(posixpath.basename(chapter), []))
    add_chapter(builder, tree)
    return notes


def _add_headings(tree: Tree, labels: Iterable[tuple[str, str]]) -> None:
    """Put names from the contents over the places that they lead to, where the text does not begin with them."""
    for place, label in labels:
        node = tree.ids.get(place, tree.root)
        around = node if node.size or node.parent is None else node.parent
        if label and not beginning_of(around).casefold().startswith(label.casefold()):
            node.children.insert(0, heading_node(label, node))


def _drop_contents(tree: Tree, chapter: str, package: _Package) -> None:
    """Drop what a page says twice: a table of contents, and lines that are links alone on a page of such links."""
    is_contents = chapter in package.contents
    links = {posixpath.basename(unquote(_without_fragment(node.get("href")))) for node in tree.nodes if node.tag == "a"}
    others = (links & package.files) - {posixpath.basename(chapter)}
    titles = sum(node.size - node.link_size for node in tree.nodes if node.tag in HEADINGS)
    is_list = len(others) >= 3 and tree.root.link_size * 5 >= (tree.root.size - titles) * 4
    if not is_contents and not is_list:
        return
    for node in tree.nodes:
        is_link = node.is_block and 0 < node.size == node.link_size and node.tag not in HEADINGS
        if not node.dropped and ((is_contents and node.tag == "nav") or is_link):
            node.dropped = "contents"
    measure(tree)
    titles = sum(node.size for node in tree.nodes if node.tag in HEADINGS and not node.left_out)
    if tree.root.size - titles <= MAX_TITLE_OF_CONTENTS:
        for node in tree.root.elements():
            node.dropped = "contents"


def _refuse(left_out: Mapping[str, list[str]]) -> None:
    """Raise UnreadableFile for a book of which no chapter could be read."""
    if left_out["encrypted"]:
        raise UnreadableFile(ENCRYPTED)
    if left_out["damaged"]:
        raise UnreadableFile("its chapters are damaged or encrypted; get another copy of the book")
    if left_out["not in the file"]:
        raise UnreadableFile(f"none of its {len(left_out['not in the file'])} chapters is in the file")


def _note(chapters: list[str], reason: str) -> str:
    counted = "1 chapter is" if len(chapters) == 1 else f"{len(chapters)} chapters are"
    return f"{counted} {reason} ({', '.join(chapters[:MAX_NAMED])}{', …' if len(chapters) > MAX_NAMED else ''})"


class _Names:
    """The names in an archive, found also where a link spells them in another way."""

    def __init__(self, book: zipfile.ZipFile):
        self.all = [entry.filename for entry in book.infolist() if not entry.is_dir()]
        self._exact = set(self.all)
        self._alike: dict[str, str] = {}
        for name in self.all:
            self._alike.setdefault(_alike(name), name)

    def find(self, name: str) -> str | None:
        """The name in the archive that a name stands for; None where there is none."""
        return name if name in self._exact else self._alike.get(_alike(name))


def _alike(name: str) -> str:
    return posixpath.normpath(unicodedata.normalize("NFC", unquote(name)).replace("\\", "/").lstrip("/")).casefold()


def _read(book: zipfile.ZipFile, name: str) -> bytes | None:
    """The bytes of a page; None where they are damaged, or are no text."""
    try:
        page = book.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError):
        return None
    head = page[:4096]
    is_wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[:4].count(0) in (2, 3)
    n_control = sum(byte < 9 or 13 < byte < 32 for byte in head)
    return page if is_wide or n_control * 50 <= len(head) else None


def _xml(data: bytes) -> Any:
    from lxml import etree

    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, recover=True))


def _all(tree: Any, name: str) -> list:
    """The elements of a name in any namespace."""
    return [] if tree is None else list(tree.iter(f"{{*}}{name}"))


def _encrypted(book: zipfile.ZipFile, names: _Names) -> set[str]:
    """The names of the files that the book says are encrypted: chapters, or fonts alone."""
    listed = names.find("META-INF/encryption.xml")
    data = _read(book, listed) if listed else None
    references = _all(_xml(data), "CipherReference") if data else []
    return {name for each in references if (name := names.find(_without_fragment(each.get("URI") or ""))) is not None}


def _without_fragment(link: str) -> str:
    return link.split("#")[0].split("?")[0].removeprefix("./")


def _read_package(book: zipfile.ZipFile, names: _Names) -> _Package:
    """The package; where there is none that can be read, every page of the archive by its name."""
    container = _read(book, "META-INF/container.xml")
    paths = [each.get("full-path") or "" for each in _all(_xml(container) if container else None, "rootfile")]
    paths += [name for name in names.all if name.lower().endswith(".opf")]
    name = next((found for path in paths if (found := names.find(path)) is not None), None)
    data = _read(book, name) if name else None
    tree = _xml(data) if data else None
    if name is None or tree is None:
        return _Package(chapters=sorted(each for each in names.all if each.lower().endswith(_ENDINGS)))
    folder = posixpath.dirname(name)
    items = {each.get("id") or "": _item(each, folder) for each in _all(tree, "item")}
    title = next((" ".join("".join(each.itertext()).split()) for each in _all(tree, "title")), "")
    package = _Package(title, _chapters(tree, items))
    package.files = {posixpath.basename(chapter) for chapter in package.chapters}
    package.contents = {item.name for item in items.values() if item.is_contents}
    for each in _all(tree, "reference"):
        if (each.get("type") or "").lower() == "toc":
            package.contents.add(_place(folder, each.get("href") or ""))
    package.labels = _labels(book, names, items.values())
    return package


def _item(element: Any, folder: str) -> _Item:
    return _Item(
        name=_place(folder, element.get("href") or ""),
        kind=(element.get("media-type") or "").lower(),
        is_contents="nav" in (element.get("properties") or "").split(),
        fallback=element.get("fallback") or "",
    )


def _place(folder: str, link: str) -> str:
    """Where a link leads in the archive."""
    return posixpath.normpath(posixpath.join(folder, unquote(_without_fragment(link)))).lstrip("/")


def _chapters(tree: Any, items: Mapping[str, _Item]) -> list[str]:
    """The names of a book's chapters: those of the spine, each once, then the pages that it forgets."""
    stand_ins = {item.fallback for item in items.values() if item.fallback}
    chosen = []
    for reference in _all(tree, "itemref"):
        item = items.get(reference.get("idref") or "")
        for _ in range(10):  # what is no page may name a page that stands in for it
            if item is None or not item.kind.startswith(_NO_CHAPTERS):
                break
            item = items.get(item.fallback)
        if item is not None and not item.kind.startswith(_NO_CHAPTERS):
            chosen.append(item.name)
    forgotten = [
        item.name
        for name, item in items.items()
        if name not in stand_ins and not item.is_contents and item.name.lower().endswith(_ENDINGS)
    ]
    return list(dict.fromkeys([*chosen, *forgotten]))


def _labels(book: zipfile.ZipFile, names: _Names, items: Iterable[_Item]) -> dict[str, list[tuple[str, str]]]:
    """What the table of contents calls the places in the chapters, by the last part of the chapters' names."""
    labels: dict[str, dict[str, str]] = {}
    for item in items:
        is_ncx = item.kind == "application/x-dtbncx+xml"
        name = names.find(item.name) if is_ncx or item.is_contents else None
        data = _read(book, name) if name else None
        if data is None:
            continue
        found = _ncx_labels(data) if is_ncx else _nav_labels(data)
        for link, label in found:
            if not label.isdigit():  # of a list of pages
                places = labels.setdefault(posixpath.basename(unquote(_without_fragment(link))), {})
                places.setdefault(unquote(link.partition("#")[2]), label)
    return {name: list(places.items()) for name, places in labels.items()}


def _ncx_labels(data: bytes) -> list[tuple[str, str]]:
    found = []
    for point in _all(_xml(data), "navPoint"):
        label = next((" ".join("".join(each.itertext()).split()) for each in _all(point, "text")), "")
        link = next((each.get("src") or "" for each in _all(point, "content")), "")
        found.append((link, label))
    return found


def _nav_labels(data: bytes) -> list[tuple[str, str]]:
    tree, _ = read_chapter(data)
    return [(node.get("href"), text_of(node)) for node in tree.nodes if node.tag == "a" and node.get("href")]
