"""A story of a Word file (its body, a note, a page header) as paragraphs and tables, as Word shows them.

One walk over the elements, without recursion: text boxes and cells may lie in each other as deep as they like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rag.documents.decode import clean
from rag.documents.formats.office.docx_fields import PAGE_FIELD, REMOVED, Fields, is_page_number
from rag.documents.formats.office.docx_parts import (
    Flow,
    OpenParagraph,
    OpenTable,
    Word,
    as_text,
    hexadecimal,
    letters_below,
)
from rag.documents.formats.office.drawings import Item, chart, paragraphs, smart_art
from rag.documents.formats.office.math import equation
from rag.documents.formats.office.ooxml import branch, child, is_on, long, number, short
from rag.documents.formats.office.symbol_fonts import PRIVATE, symbol
from rag.documents.formats.office.tables import Cell, Row, table_items

Notes = Callable[[str, str], list[Item]]

_SKIPPED = {
    *("w:pPr", "w:rPr", "w:tblPr", "w:tblGrid", "w:tblPrEx", "w:trPr", "w:tcPr", "w:sdtPr", "w:sdtEndPr", "w:sectPr"),
    *("w:del", "w:moveFrom", "w:delText", "w:delInstrText", "w:binData", "w:fldData"),
}
_WORDS = {"w:noBreakHyphen": "-", "w:tab": "\t", "w:ptab": "\t", "w:br": "\n", "w:cr": "\n"}


class Story:
    """Reads one story. `notes` gives the items of a footnote or endnote; without it, `references` gathers them."""

    def __init__(self, word: Word, part: str, notes: Notes | None = None, in_margin: bool = False):
        self._word = word
        self._part = part
        self._notes = notes
        self._in_margin = in_margin
        self._stack: list[Flow | OpenParagraph | OpenTable | Row] = []
        self._fields = Fields(None)
        self._left_out: set[Any] = set()
        self._font = ""
        self.references: list[tuple[str, str]] = []
        self.sections: list[tuple[int, Any]] = []

    def read(self, root: Any) -> list[Item]:
        """The items of a story, in order; `sections` says after how many of them a section of the body ends."""
        from lxml import etree

        self._fields = Fields(root)
        self._stack = [Flow()]
        walker = etree.iterwalk(root, events=("start", "end"))
        for event, element in walker:
            name = short(element.tag)
            if event == "start":
                if name == "w:sectPr" and len(self._stack) == 1:
                    self._close(self._stack[0])
                    self.sections.append((len(self._stack[0].items), element))  # type: ignore[union-attr]
                if name in _SKIPPED or self._start(name, element):
                    walker.skip_subtree()
                    self._left_out.add(element)  # skipped: its end says nothing
            elif element in self._left_out:
                self._left_out.discard(element)
            else:
                self._end(name, element)
        self._close(self._stack[0])
        return self._stack[0].items  # type: ignore[union-attr]

    def _start(self, name: str, element: Any) -> bool:
        """Take in the beginning of an element; whether what is below it is left out."""
        if name == "w:p":
            top = self._stack[-1]
            if isinstance(top, Flow) and top.open is not None and top.open.properties is None:
                self._close(top)  # text outside of any paragraph is one of its own
            self._stack.append(self._paragraph(element))
        elif name == "w:r":
            return self._run(element)
        elif name == "w:t":
            self._say(self._text(element))
        elif name in _WORDS:
            self._say(_WORDS[name])
        elif name == "w:fldChar":
            self._say(self._fields.take(element))
            return True
        elif name in ("w:instrText", "w:fldSimple"):
            self._instruction(element.text if name == "w:instrText" else element.get(long("w:instr")))
        elif name == "mc:AlternateContent":
            kept = branch(element)
            self._left_out.update(each for each in element if each is not kept)
        elif name in ("mc:Choice", "mc:Fallback"):
            return element in self._left_out
        elif name in ("w:tbl", "w:tr", "w:tc"):
            return self._start_table(name, element)
        elif name == "w:txbxContent":
            self._stack.append(Flow())
        else:
            return self._special(name, element)
        return False

    def _special(self, name: str, element: Any) -> bool:
        """Take in what is seldom: symbols, equations, notes, charts, inserted files."""
        if name == "w:sym":
            letter = symbol(hexadecimal(element.get(long("w:char"))), element.get(long("w:font"), ""))
            self._word.n_symbols += not letter
            self._say(letter)
        elif name in ("m:oMath", "m:oMathPara"):
            text = equation(element)
            self._say(text if name == "m:oMath" else f"\n{text}\n")
            return True
        elif name in ("w:footnoteReference", "w:endnoteReference"):
            note = (name.removeprefix("w:").removesuffix("Reference"), element.get(long("w:id"), ""))
            if (paragraph := self._inner(OpenParagraph)) is not None:
                paragraph.notes.append(note)
        elif name == "w:ruby":
            base, above = (
                "".join(t.text or "" for t in letters_below(element, part)) for part in ("w:rubyBase", "w:rt")
            )
            self._say(f"{base}({above})" if above else base)
            return True
        elif name == "v:textpath":
            self._box([Item("text", clean(element.get("string") or "").strip())])
        elif name == "a:txBody":
            self._box([Item("text", text) for text in paragraphs(element)])
            return True
        elif name in ("c:chart", "cx:chart", "dgm:relIds"):
            part = self._link(element, "r:dm" if name == "dgm:relIds" else "r:id")
            is_taken = part in self._word.package and not self._word.package.take(part)
            root = None if is_taken else self._word.package.optional(part)
            if root is not None:
                self._box([Item("text", text) for text in smart_art(root)] if name == "dgm:relIds" else chart(root))
        elif name == "w:altChunk":
            self._inserted(self._link(element, "r:id"))
        elif name == "w:subDoc":
            self._word.package.note("a part of the document is in a file of its own; ingest that too")
        return False

    def _end(self, name: str, element: Any) -> None:
        if name == "w:p":
            self._end_paragraph(self._stack.pop())
        elif name in ("w:tbl", "w:tr", "w:tc") and len(self._stack) > 1:
            self._end_table(name, element)
        elif name == "w:txbxContent":
            flow: Any = self._stack.pop()
            self._close(flow)
            self._box(flow.items)

    def _paragraph(self, element: Any) -> OpenParagraph:
        properties = child(element, "w:pPr")
        style = child(properties, "w:pStyle")
        name = style.get(long("w:val"), "") if style is not None else ""
        return OpenParagraph(properties, name, self._word.styles.hides(name))

    def _end_paragraph(self, paragraph: Any) -> None:
        flow = self._inner(Flow)
        if flow is None or not isinstance(paragraph, OpenParagraph):
            return
        if flow.open is not None:
            before, flow.open = flow.open, None
            paragraph.pieces = before.pieces + paragraph.pieces
            paragraph.boxes = before.boxes + paragraph.boxes
            paragraph.notes = before.notes + paragraph.notes
        mark = child(paragraph.properties, "w:rPr")
        if any(child(mark, name) is not None for name in REMOVED):  # the next paragraph goes on with this one
            flow.open = paragraph
            return
        self._write(flow, paragraph, is_counted=not is_on(child(mark, "w:vanish")))
        section = child(paragraph.properties, "w:sectPr")
        if section is not None and len(self._stack) == 1:
            self.sections.append((len(flow.items), section))

    def _write(self, flow: Flow, paragraph: OpenParagraph, is_counted: bool = True) -> None:
        """Append a paragraph, then what stands in its boxes and notes."""
        text = clean("".join(paragraph.pieces)).replace("\u00ad", "").strip()
        label = self._word.label(paragraph) if is_counted else ""
        if text and not (self._in_margin and is_page_number(text, paragraph.has_page_number)):
            level = self._word.level(paragraph)
            flow.items.append(Item("heading" if level else "text", label + text, level))
        flow.items += [as_text(item) for item in paragraph.boxes if item.kind != "text" or item.text]
        if self._notes is None:
            self.references += paragraph.notes
            return
        table = next((each for each in self._stack if isinstance(each, OpenTable)), None)
        if table is not None:
            table.notes += paragraph.notes
            return
        for note in paragraph.notes:
            flow.items += self._notes(*note)

    def _run(self, run: Any) -> bool:
        """Begin a run; whether it is hidden. Fields begin and end in hidden runs too."""
        properties = child(run, "w:rPr")
        fonts = child(properties, "w:rFonts")
        self._font = "" if fonts is None else fonts.get(long("w:ascii")) or fonts.get(long("w:hAnsi"), "")
        paragraph = self._inner(OpenParagraph)
        mark = child(properties, "w:vanish")
        if mark is None:
            style = child(properties, "w:rStyle")
            is_hidden = style is not None and self._word.styles.hides(style.get(long("w:val"), ""))
            is_hidden = is_hidden or (paragraph is not None and paragraph.is_hidden)
        else:
            is_hidden = is_on(mark)
        if is_hidden:
            for each in run.findall(long("w:fldChar")):
                self._fields.take(each)
            self._word.n_hidden += any((each.text or "").strip() for each in run.findall(long("w:t")))
        return is_hidden

    def _text(self, element: Any) -> str:
        text = (element.text or "").replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
        if not PRIVATE.search(text):
            return text
        letters = [symbol(ord(each), self._font or "Symbol") if PRIVATE.match(each) else each for each in text]
        self._word.n_symbols += letters.count("")
        return "".join(letters)

    def _say(self, text: str) -> None:
        if self._fields.n_instructions or not text:
            return
        top = self._stack[-1]
        if isinstance(top, OpenParagraph):
            top.pieces.append(text)
        elif isinstance(top, Flow) and text.strip():  # text outside of any paragraph
            top.open = top.open or OpenParagraph(None)
            top.open.pieces.append(text)

    def _box(self, items: list[Item]) -> None:
        """Keep what stands in a text box or drawing until its paragraph ends."""
        if (paragraph := self._inner(OpenParagraph)) is not None:
            paragraph.boxes += items
        elif (flow := self._inner(Flow)) is not None:
            flow.items += map(as_text, items)

    def _instruction(self, text: str | None) -> None:
        if (paragraph := self._inner(OpenParagraph)) is not None and PAGE_FIELD.search(text or ""):
            paragraph.has_page_number = True

    def _start_table(self, name: str, element: Any) -> bool:
        """Begin a table, row or cell; whether it was deleted or is hidden."""
        if name == "w:tbl":
            if isinstance(self._stack[-1], Flow):
                self._close(self._stack[-1])
            self._stack.append(OpenTable())
        elif name == "w:tr":
            properties = child(element, "w:trPr")
            if child(properties, "w:del") is not None or is_on(child(properties, "w:hidden")):
                self._word.n_hidden += child(properties, "w:del") is None
                return True
            before = child(properties, "w:gridBefore")
            n_before = number(before.get(long("w:val"))) if before is not None else 0
            self._stack.append(Row(max(n_before, 0), is_on(child(properties, "w:tblHeader"))))
        else:
            if child(element, "w:tcPr", "w:cellDel") is not None:
                return True
            self._stack.append(Flow(properties=child(element, "w:tcPr")))
        return False

    def _end_table(self, name: str, element: Any) -> None:
        ended = self._stack.pop()
        if isinstance(ended, Flow):
            self._close(ended)
            span, merge = child(ended.properties, "w:gridSpan"), child(ended.properties, "w:vMerge")
            n_columns = number(span.get(long("w:val")), 1) if span is not None else 1
            how = "" if merge is None else merge.get(long("w:val"), "continue")
            cell = Cell(ended.items, max(n_columns, 1), how if how in ("", "restart") else "continue")
            if (row := self._inner(Row)) is not None:
                row.cells.append(cell)
            elif (flow := self._inner(Flow)) is not None:
                flow.items += cell.items
        elif isinstance(ended, Row):
            if (table := self._inner(OpenTable)) is not None:
                table.rows.append(ended)
        elif isinstance(ended, OpenTable) and (flow := self._inner(Flow)) is not None:
            flow.items += table_items(ended.rows)
            for note in ended.notes:
                flow.items += self._notes(*note) if self._notes else []

    def _inner(self, kind: type) -> Any:
        """The innermost open element of a kind."""
        return next((each for each in reversed(self._stack) if isinstance(each, kind)), None)

    def _close(self, flow: Any) -> None:
        if flow.open is not None:
            paragraph, flow.open = flow.open, None
            self._write(flow, paragraph)

    def _link(self, element: Any, attribute: str) -> str:
        link = self._word.package.relations(self._part).get(element.get(long(attribute), ""))
        return link.part if link is not None and not link.external else ""

    def _inserted(self, part: str) -> None:
        """Take in a file that Word shows as a part of the document (<w:altChunk>): HTML or plain text."""
        package = self._word.package
        if part in package and not package.take(part):
            return
        flow = self._inner(Flow)
        media_type = package.content_type(part) if part in package else ""
        if flow is not None and "html" in media_type:
            flow.items.append(Item("html", html=package.raw(part)))
        elif flow is not None and media_type.startswith("text/plain"):
            flow.items.append(Item("text", clean(package.raw(part).decode("utf-8", "replace"))))
        else:
            package.note(f"the file inserted as {part or 'a link'} is not read; save the document again in Word")
