"""What a parser makes of a file: text with its structure, every piece at its place."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Literal

from rag.documents.blanks import without_long_blanks
from rag.documents.titles import sound_title

MAX_TITLE_CHARACTERS = 200
_BOXES = str.maketrans({"☐": "[ ]", "☑": "[x]", "☒": "[x]"})
_BOX = re.compile("[☐☑☒]")
_BOX_BEFORE_WORD = re.compile(r"([☐☑☒])(?=\w)")
BlockKind = Literal["heading", "text", "table", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document's text: `text[start:end]` in characters.

    `level` is a heading's depth from 1; `page` counts from 1 (a slide, a sheet) where the format has pages; `header`
    is how many of a table's first lines name its columns.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    page: int | None = None
    header: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A file's text and structure. Blocks are in order and do not overlap.

    `title` may be empty. `notes` are for the person who ingests. `ocr` is None where every page had text; else the
    languages in which the others were recognised, "" where they were not.
    """

    kind: str
    title: str
    text: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = field(default=())
    ocr: str | None = None


def ticked(text: str) -> str:
    """A text whose boxes to tick are written as models know them: `[x]` and `[ ]`."""
    return _BOX_BEFORE_WORD.sub(r"\1 ", text).translate(_BOXES) if _BOX.search(text) else text


def without_blank_lines(code: str) -> str:
    """Code without blank lines before it and whitespace behind it; its first line keeps its indentation."""
    code = code.rstrip()
    return code[code.rfind("\n", 0, len(code) - len(code.lstrip())) + 1 :]


def titled(document: Document) -> Document:
    """The document; where its file names no title that is one, with its first heading as the title."""
    first = next((block for block in document.blocks if block.kind == "heading"), None)
    title = sound_title(document.title) or (document.text[first.start : first.end] if first else "")
    return dataclasses.replace(document, title=" ".join(title.split())[:MAX_TITLE_CHARACTERS])


class TextBuilder:
    """Gathers blocks into one text, a blank line between them."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.blocks: list[Block] = []

    def add(self, kind: BlockKind, text: str, *, level: int = 0, page: int | None = None, header: int = 0) -> None:
        """Append a block without the whitespace around it, but with the indentation of code; none where it is empty.

        Long runs of blanks in it are made short.
        """
        text = without_long_blanks(without_blank_lines(text) if kind == "code" else text.strip())
        if not text:
            return
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        self.blocks.append(Block(kind, self._length, self._length + len(text), level, page, header))
        self._parts.append(text)
        self._length += len(text)

    def table(self, rows: list[list[str]], *, page: int | None = None) -> None:
        """Append a table: a line for each row, ` | ` between cells. The first row names the columns."""
        lines = [" | ".join(" ".join(cell.split()) for cell in row) for row in rows]
        lines = [line for line in lines if line.strip(" |")]
        self.add("table", "\n".join(lines), page=page, header=1 if len(lines) > 1 else 0)

    @property
    def text(self) -> str:
        """The text so far; the blocks are places in it."""
        return "".join(self._parts)

    def document(self, kind: str, title: str, notes: tuple[str, ...] = ()) -> Document:
        """The document of what was added; without a title, its first heading is the title."""
        return titled(Document(kind, title, self.text, tuple(self.blocks), notes))
