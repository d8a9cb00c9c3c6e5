"""Foreign Markdown, of the generator or of a document, as HTML that cannot act.

HTML in it is text. Only the elements, attributes and addresses of `rag.serve.view.writing` are ever written.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from rag.serve.view.signs import clean
from rag.serve.view.writing import HEADING, Writer, joined_marks, no_citation

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

MAX_CHARACTERS = 20_000
"""Longer texts are shown in paragraphs, with nothing but citations and marks."""

MAX_NESTING = 40
"""Elements within elements. A text that nests deeper is shown in paragraphs too: markdown-it would leave that out."""

MAX_FORMULA = 1_000
_DUNDER = re.compile(r"__\w{1,60}__(?!\w)")
_FORMULA_SIGN = re.compile(r"[\\^_=+<>{}|]|\w\(|\A\w{1,2}\Z|\A-?\d+(?:\.\d+)?\Z")
_ORDERED = re.compile(r"( {0,3}[*_>]{0,2} {0,3})(\d{1,9})([.)])(?=\s|\Z)")
_FENCE = re.compile(r" {0,3}(?:`{3}|~{3})")


def markdown_html(
    text: str,
    cite: Callable[[int], str] = no_citation,
    first_mark: str = "",
    *,
    formulas: bool = True,
    heading: int = HEADING,
    keeps_lines: bool = True,
) -> str:
    """A text with our signs (`rag.serve.view.signs`) as HTML.

    `cite` writes the citation of a source by its number. `first_mark` are attributes of the first mark, with a blank
    before them; `heading` is the level of the highest headings. `keeps_lines`: a line that ends on purpose, as far as
    one can tell, ends on the page too; else only where Markdown says so. Clean foreign text before signs are put into
    it.
    """
    writer = Writer(cite, first_mark, heading, keeps_lines=keeps_lines)
    tokens = []
    if len(text) <= MAX_CHARACTERS:
        tokens = _parser().parse(without_false_lists(text), {"formulas": formulas})
    is_rendered = tokens and all(token.level < MAX_NESTING - 1 for token in tokens)
    return joined_marks(writer.write(tokens) if is_rendered else writer.paragraphs(text))


def html_of(text: str) -> str:
    """A foreign text without any sign of ours as HTML."""
    return markdown_html(clean(text))


def without_false_lists(text: str) -> str:
    """A text in which a number begins an item of a list only where its neighbour begins another line, or it is 1.

    "1874. It was rebuilt" and "12. March" are no items of lists.
    """
    lines = text.split("\n")
    found = {n: match for n, line in enumerate(lines) if (match := _ORDERED.match(line))}
    if not found:
        return text
    numbers = {int(match[2]) for match in found.values()}
    in_code = False
    for n, line in enumerate(lines):
        in_code ^= _FENCE.match(line) is not None
        if in_code or n not in found:
            continue
        match = found[n]
        number = int(match[2])
        is_item = len(lines) > 1 and (number < 2 or not numbers.isdisjoint((number - 1, number + 1)))
        if not is_item:
            lines[n] = f"{match[1]}{match[2]}\\{line[match.start(3) :]}"
    return "\n".join(lines)


@functools.cache
def _parser() -> MarkdownIt:
    """CommonMark with tables, strikethrough and formulas, without HTML."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    parser.enable(["table", "strikethrough"]).disable(["html_block", "html_inline"])
    # Which addresses may be followed is decided where they are written, once for links of every kind.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    parser.normalizeLinkText = lambda link: link  # type: ignore[method-assign]
    parser.inline.ruler.before("escape", "formula", _inline_formula)
    parser.inline.ruler.before("emphasis", "dunder", _dunder)
    parser.inline.add_terminator_char("$")
    parser.block.ruler.before("fence", "formula", _block_formula, {"alt": ["paragraph", "blockquote", "list"]})
    return parser


def _dunder(state: StateInline, silent: bool) -> bool:
    """`__init__` is a name, and not bold."""
    match = _DUNDER.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.append_pending(match[0])
    state.pos = match.end()
    return True


def _inline_formula(state: StateInline, silent: bool) -> bool:
    r"""`$x^2$`, `$$x^2$$`, `\(x^2\)` and `\[x^2\]`; amounts of dollars are none."""
    found = _formula_at(state.src, state.pos, state.posMax) if state.env["formulas"] else None
    if found is None:
        return False
    latex, end, is_block = found
    if not silent:
        token = state.push("formula", "", 0)
        token.content, token.markup = latex, state.src[state.pos : end]
        token.meta = {"block": is_block}
    state.pos = end
    return True


def _formula_at(text: str, start: int, stop: int) -> tuple[str, int, bool] | None:
    """(LaTeX, end, whether it stands apart) of the formula that begins here; None where none does."""
    stop = min(stop, start + MAX_FORMULA)
    for opening, closing in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)")):
        if text.startswith(opening, start):
            end = text.find(closing, start + 2, stop)
            inner = text[start + 2 : end].strip()
            return (inner, end + 2, opening != "\\(") if end > 0 and inner else None
    if not text.startswith("$", start):
        return None
    end = text.find("$", start + 1, stop)
    inner = text[start + 1 : end] if end > 0 else ""
    is_amount = not inner or inner[0].isspace() or inner[-1].isspace() or text[end + 1 : end + 2].isdigit()
    return None if is_amount or _FORMULA_SIGN.search(inner) is None else (inner, end + 1, False)


def _block_formula(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    r"""Lines from `$$` or `\[` at the beginning of one to `$$` or `\]` at the end of one."""
    line = _line(state, first)
    closing = "$$" if line.startswith("$$") else "\\]" if line.startswith("\\[") else ""
    if not closing or not state.env["formulas"] or state.is_code_block(first):
        return False
    lines: list[str] = []
    length = 0
    for n in range(first, min(last, first + 40)):
        part = _line(state, n)[2 if n == first else 0 :]
        length += len(part)
        if length > MAX_FORMULA:
            return False
        if part.endswith(closing):
            if silent:
                return True
            token = state.push("formula_block", "", 0)
            token.content = "\n".join([*lines, part[: -len(closing)]]).strip()
            token.markup = state.getLines(first, n + 1, 0, False)
            token.map = [first, n + 1]
            state.line = n + 1
            return True
        lines.append(part)
    return False


def _line(state: StateBlock, n: int) -> str:
    return state.src[state.bMarks[n] + state.tShift[n] : state.eMarks[n]].strip()
