"""DOCX: what Word shows, once and in its place. Macros never run; pictures and comments are not read."""

from __future__ import annotations

from collections import deque
from typing import Any

from rag.documents.document import Document, TextBuilder
from rag.documents.formats.office.docx_lists import Lists
from rag.documents.formats.office.docx_parts import Word, as_text
from rag.documents.formats.office.docx_story import Story
from rag.documents.formats.office.docx_styles import Styles
from rag.documents.formats.office.drawings import Item, add_items
from rag.documents.formats.office.ooxml import Package, child, is_on, long


def parse_docx(data: bytes) -> Document:
    """Headings by their style, paragraphs with the numbers of lists, and tables with a row a line, without pages.

    The text as it reads now: with insertions, without what was deleted or moved away. Notes stand below the paragraph
    that refers to them, text boxes below the one that holds them, and page headers and footers once, at the beginning
    and end of their section. Hidden text is left out and counted in a note.
    """
    package = Package(data)
    main = package.main()
    root = package.xml(main)
    styles = Styles(package.optional(package.related(main, "styles")))
    lists = Lists(package.optional(package.related(main, "numbering")), lambda style: styles.list_of(style)[0])
    word = Word(package, styles, lists)
    body = child(root, "w:body")
    story = Story(word, main, _Notes(word, main).items)
    items = story.read(root if body is None else body)
    builder = TextBuilder()
    add_items(builder, _with_margins(word, main, items, story.sections))
    if word.n_hidden:
        package.note(f"{word.n_hidden} pieces of hidden text were left out, as Word does not show them")
    if word.n_symbols:
        package.note(f"{word.n_symbols} symbols of special fonts have no letter and were left out")
    return builder.document("docx", package.title(), tuple(package.notes))


class _Notes:
    """The footnotes and endnotes of a document, each given out once."""

    def __init__(self, word: Word, main: str):
        self._word = word
        self._parts = {kind: word.package.related(main, f"{kind}s") for kind in ("footnote", "endnote")}
        self._elements: dict[tuple[str, str], Any] | None = None
        self._given: set[tuple[str, str]] = set()

    def items(self, kind: str, name: str) -> list[Item]:
        """The items of a note and of those that it refers to; none where they were given out before."""
        if self._elements is None:
            self._elements = self._load()
        found: list[Item] = []
        waiting = deque([(kind, name)])
        while waiting:
            note = waiting.popleft()
            if note in self._given:
                continue
            self._given.add(note)
            element = self._elements.get(note)
            if element is None:
                self._word.package.note(f"the {note[0]} {note[1]} is missing")
                continue
            story = Story(self._word, self._parts[note[0]])
            found += [as_text(item) for item in story.read(element)]
            waiting.extend(story.references)
        return found

    def _load(self) -> dict[tuple[str, str], Any]:
        """The notes by kind and number, without the lines that separate them from the text."""
        found = {}
        for kind, part in self._parts.items():
            root = self._word.package.optional(part)
            for note in root if root is not None else ():
                if note.get(long("w:type"), "normal") == "normal":
                    found[kind, note.get(long("w:id"), "")] = note
        return found


def _with_margins(word: Word, main: str, items: list[Item], sections: list[tuple[int, Any]]) -> list[Item]:
    """The items with the page headers before each section and the footers behind it, each line once in all.

    A line that the text has too (the title, as a rule) is left to the text.
    """
    package = word.package
    links = package.relations(main)
    settings = package.optional(package.related(main, "settings"))
    has_even = is_on(child(settings, "w:evenAndOddHeaders"))
    said = {_key(item) for item in items}
    current: dict[tuple[str, str], str] = {}
    read: set[str] = set()
    result: list[Item] = []
    start = 0
    for end, section in sections:
        shown = ["default"] + ["first"] * is_on(child(section, "w:titlePg")) + ["even"] * has_even
        margins: dict[str, list[Item]] = {"header": [], "footer": []}
        for margin, around in margins.items():
            for reference in section.findall(long(f"w:{margin}Reference")):
                link = links.get(reference.get(long("r:id"), ""))
                if link is not None:
                    current[margin, reference.get(long("w:type"), "default")] = link.part
            for part in dict.fromkeys(current.get((margin, kind), "") for kind in shown):
                root = package.optional(part) if part not in read else None
                read.add(part)
                story = Story(word, part, in_margin=True)
                for item in map(as_text, story.read(root) if root is not None else ()):
                    if _key(item) not in said:
                        said.add(_key(item))
                        around.append(item)
        result += [*margins["header"], *items[start:end], *margins["footer"]]
        start = end
    return result + items[start:]


def _key(item: Item) -> str:
    return " ".join(item.line().split()).casefold()
