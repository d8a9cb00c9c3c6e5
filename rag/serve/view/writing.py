"""Tokens of markdown-it as HTML: what is not named here is not written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rag.scripts import is_unspaced
from rag.serve.view.code import code_html, language_of
from rag.serve.view.formulas import mathml
from rag.serve.view.signs import MARK, MARK_END, SIGNS, parts, without_signs

if TYPE_CHECKING:
    from markdown_it.token import Token

MAX_ADDRESS_CHARACTERS = 2_000
MAX_EMPHASES = 8
HEADING = 3
"""The level of the highest headings of an answer: the page's own stand above them."""

_PLAIN = {"strong": "strong", "em": "em", "s": "s", "blockquote": "blockquote", "bullet_list": "ul", "list_item": "li"}
_TABLE = {"thead": "thead", "tbody": "tbody", "tr": "tr"}
_ADDRESS = re.compile(rf"https?://[^\s<>\"'`{{}}|\\^\[\]{SIGNS}]{{1,2000}}", re.I)
_TRAILING = ".,;:!?*_~'\""
_SHORT_LINE, _SHORT_UNSPACED_LINE = 40, 20
_WORD = re.compile(r"\s*\S{1,30}")


def no_citation(number: int) -> str:
    """A citation that is not written."""
    return ""


def safe_address(address: str) -> str:
    """An address that a link may lead to, of the web or of mail; "" for any other."""
    address = address.strip()
    if len(address) > MAX_ADDRESS_CHARACTERS or any(ch <= " " or ch in SIGNS for ch in address):
        return ""
    if address[:7].lower() == "mailto:":
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    is_web = parts.scheme.lower() in ("http", "https") and address[len(parts.scheme) :].startswith("://")
    return address if is_web and parts.netloc else ""


class Writer:
    """Writes one text. `cite` writes a citation by its number; `first_mark` are attributes of the first mark.

    `heading` is the level of the highest headings; lower ones follow without a gap. `keeps_lines` is as for
    `rag.serve.view.markdown.markdown_html`.
    """

    def __init__(
        self, cite: Callable[[int], str], first_mark: str = "", heading: int = HEADING, *, keeps_lines: bool = True
    ):
        self._cite = cite
        self._heading = heading
        self._keeps_lines = keeps_lines
        self._levels: list[str] = []
        self._first_mark = first_mark
        self._marking = False
        self._in_link = 0
        self._emphases = 0
        self._open_links: list[str] = []

    def write(self, tokens: Sequence[Token]) -> str:
        """All tokens of a document."""
        self._levels = sorted({token.tag for token in tokens if token.type == "heading_open"})
        return "".join(self._block(token) for token in tokens)

    def paragraphs(self, text: str) -> str:
        """A text in paragraphs, without any markup."""
        pieces = (piece.strip("\n") for piece in text.split("\n\n"))
        return "".join(f'<p dir="auto">{self._signed(piece, _lines_html)}</p>' for piece in pieces if piece.strip())

    def _block(self, token: Token) -> str:
        kind, is_opening = token.type, token.nesting == 1
        name = kind.removesuffix("_open").removesuffix("_close")
        if kind == "inline":
            return self._inline(token.children or [])
        if kind in ("fence", "code_block"):
            return self._code(token)
        if kind == "formula_block":
            return self._formula(token, block=True)
        if kind == "hr":
            return "<hr>"
        if name == "paragraph":
            return "" if token.hidden else '<p dir="auto">' if is_opening else "</p>"
        if name == "heading":
            tag = f"h{min(self._levels.index(token.tag) + self._heading, 6)}"
            return f'<{tag} dir="auto">' if is_opening else f"</{tag}>"
        if name == "table":
            return (
                '<div class="table" role="group" aria-label="Table" tabindex="0"><table>'
                if is_opening
                else "</table></div>"
            )
        return self._element(token, name, is_opening=is_opening)

    def _element(self, token: Token, name: str, *, is_opening: bool) -> str:
        if name in ("th", "td"):
            scope = ' scope="col"' if name == "th" else ""
            style = str(token.attrGet("style") or "").removeprefix("text-align:")
            align = f' class="{style}"' if style in ("right", "center") else ""
            return f'<{name}{scope}{align} dir="auto">' if is_opening else f"</{name}>"
        if name == "ordered_list":
            start = token.attrGet("start")
            first = f' start="{start}"' if isinstance(start, int) else ""
            return f"<ol{first}>" if is_opening else "</ol>"
        tag = _PLAIN.get(name) or _TABLE.get(name)
        direction = ' dir="auto"' if tag in ("li", "blockquote") else ""
        return "" if tag is None else f"<{tag}{direction}>" if is_opening else f"</{tag}>"

    def _inline(self, tokens: Sequence[Token]) -> str:
        breaks = iter(_breaks(tokens, keeps_lines=self._keeps_lines))
        return "".join(
            next(breaks) if token.type in ("softbreak", "hardbreak") else self._inline_token(token) for token in tokens
        )

    def _inline_token(self, token: Token) -> str:
        kind = token.type
        if kind in ("text", "text_special"):
            return self._signed(token.content, escape if self._in_link else _with_addresses)
        if kind == "code_inline":
            return self._signed(token.content, lambda text: f"<code>{escape(text)}</code>")
        if kind == "formula":
            return self._formula(token, block=token.meta["block"])
        if kind == "image":
            address = safe_address(str(token.attrGet("src") or ""))
            shown = self._inline(token.children or []) or "picture"
            return f"{_link_to(address)}{shown}</a>" if address and not self._in_link else shown
        if kind in ("link_open", "link_close"):
            return self._link(token)
        name = kind.removesuffix("_open").removesuffix("_close")
        return self._emphasis(token, name) if name in ("strong", "em", "s") else ""

    def _emphasis(self, token: Token, name: str) -> str:
        """Bold, italics and what is struck out; within too many of them, none."""
        is_opening = token.nesting == 1
        self._emphases += is_opening
        is_written = self._emphases <= MAX_EMPHASES
        self._emphases -= not is_opening
        return self._element(token, name, is_opening=is_opening) if is_written else ""

    def _link(self, token: Token) -> str:
        if token.nesting == 1:
            address = safe_address(without_signs(str(token.attrGet("href") or "")))
            self._in_link += bool(address)
            self._open_links.append(address)
            return _link_to(address) if address else ""
        address = self._open_links.pop()
        self._in_link -= bool(address)
        return "</a>" if address else ""

    def _code(self, token: Token) -> str:
        language = language_of(token.info) if token.type == "fence" else ""
        code = token.content.removesuffix("\n")
        bare = without_signs(code)
        is_marked = self._marking or MARK in code or MARK_END in code
        shown = self._signed(code, escape, cites=False) if is_marked else code_html(bare, language)
        label = escape(language or "Code")
        cited = "".join(self._cite(int(sign)) for _, sign in parts(code + token.info) if sign.isdecimal())
        return (
            f'<figure class="code"><figcaption>{escape(language)}</figcaption>'
            f'<pre tabindex="0" role="group" aria-label="{label}"><code>{shown}</code></pre></figure>'
            + (f"<p>{cited}</p>" if cited else "")
        )

    def _formula(self, token: Token, *, block: bool) -> str:
        drawn = mathml(without_signs(token.content), block=block)
        shown = drawn or f"<code>{escape(without_signs(token.markup))}</code>"
        if self._marking and drawn == "":
            shown = f"<mark>{shown}</mark>"
        cited = "".join(self._cite(int(sign)) for _, sign in self._watched(token.markup) if sign.isdecimal())
        return f'<div class="formula">{shown}{cited}</div>' if token.type == "formula_block" else f"{shown}{cited}"

    def _watched(self, text: str) -> Iterator[tuple[str, str]]:
        """The parts of a text; whether it is being marked behind them is kept."""
        for part, sign in parts(text):
            yield part, sign
            if sign in (MARK, MARK_END):
                self._marking = sign == MARK

    def _signed(self, text: str, shown: Callable[[str], str], *, cites: bool = True) -> str:
        """A text, by `shown`, with its citations and marks; they stand outside of what `shown` writes."""
        written: list[str] = []
        for part, sign in self._watched(text):
            if part and self._marking and part.strip():
                written.append(f"<mark{self._first_mark}>{shown(part)}</mark>")
                self._first_mark = ""
            elif part:
                written.append(shown(part))
            if cites and sign.isdecimal():
                written.append(self._cite(int(sign)))
        return "".join(written)


def joined_marks(html: str) -> str:
    """HTML whose marks go on over blanks and line breaks between them."""
    for gap in (" ", "<br>", ""):
        html = html.replace(f"</mark>{gap}<mark>", gap)
    return html


def _link_to(address: str) -> str:
    shown = escape(address)
    return f'<a href="{shown}" title="{shown}" target="_blank" rel="noopener noreferrer nofollow">'


def _with_addresses(text: str) -> str:
    """A text whose addresses of web pages are links."""
    written: list[str] = []
    start = 0
    for match in _ADDRESS.finditer(text):
        address = match[0].rstrip(_TRAILING)
        if address.endswith(")") and "(" not in address:
            address = address.rstrip(")" + _TRAILING)
        if not safe_address(address):
            continue
        written += [escape(text[start : match.start()]), f"{_link_to(address)}{escape(address)}</a>"]
        start = match.start() + len(address)
    return "".join([*written, escape(text[start:])])


def _lines_html(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _breaks(tokens: Sequence[Token], *, keeps_lines: bool) -> list[str]:
    """What is written for each line break of a paragraph: a space where a line was only wrapped there, else a break."""
    lines, kinds = [""], []
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            kinds.append(token.type)
            lines.append("")
        elif token.type in ("text", "text_special", "code_inline", "formula"):
            lines[-1] += token.content
    lines = [without_signs(line).strip() for line in lines]
    return [
        "<br>" if kind == "hardbreak" else joint if keeps_lines or joint != "<br>" else " "
        for kind, joint in zip(kinds, joints(lines), strict=True)
    ]


def joints(lines: Sequence[str]) -> list[str]:
    """What stands between the lines of a paragraph: "<br>" where a line ends on purpose, else " " or nothing.

    A line was wrapped where the next goes on in lower case, or where its first word had no room: lines are nearly as
    long as the longest, or much longer than a line of verse.
    """
    longest = max(map(len, lines), default=0)
    return [_joint(before, after, longest) for before, after in itertools.pairwise(lines)]


def _joint(before: str, after: str, longest: int) -> str:
    if not before or not after:
        return " "
    word = _WORD.match(after)
    had_room = len(before) + 1 + len(word[0] if word else "") < 0.8 * longest
    is_long = longest >= (_SHORT_UNSPACED_LINE if is_unspaced(before[-1]) else _SHORT_LINE)
    is_wrapped = after[0].islower() or (is_long and not had_room)
    if not is_wrapped:
        return "<br>"
    is_split = before[-1] in "-‐" and before[-2:-1].isalpha() and after[0].islower()
    return "" if is_split or (is_unspaced(before[-1]) and is_unspaced(after[0])) else " "
