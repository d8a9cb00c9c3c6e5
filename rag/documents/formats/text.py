"""Plain text and Markdown. The document's text is the file's own, but for very long runs of blanks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from rag.documents.blanks import without_long_blanks
from rag.documents.chunk import MAX_HEADING_CHARACTERS
from rag.documents.decode import decode_noted
from rag.documents.document import MAX_TITLE_CHARACTERS, Block, BlockKind, Document, titled, without_blank_lines

if TYPE_CHECKING:
    from markdown_it.token import Token

_FENCES = {"---": ("---", "..."), "+++": ("+++",)}
_FRONT_KEY = re.compile(r"[^\W\d][\w .-]{0,80}\s{0,9}(?:=|:(?:\s|$|[\"'\[]))|\[{1,2}[\w.\"' -]{1,80}\]{1,2}\s*$")
_FRONT_TITLE = re.compile(r"[\"']?title[\"']?\s*[:=]\s*(.*)", re.I)
_QUOTED = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'|"((?:[^"\\]|\\.)*)"|\'((?:[^\']|\'\')*)\'')
_TAG = re.compile(r"<[^<>]*>")
_SENTENCE_ENDS = (".", "!", "?", ":", ";", "…", "。")
MAX_LINES_OF_A_HEADING = 2
"""More lines, or whole sentences, above a line of dashes are a paragraph above a rule: nobody writes such headings."""

_RULE_MARKS = "=-~^*#\"'+`:._"
_MARKUP = re.compile(
    r"!?\[([^\[\]]{1,300})\]\([^()]{0,1000}\)|<[^<>]{0,1000}>|(?<!\s)\s*+\{#[^{}]{0,200}\}\s*+$|\*\*|__|`"
)


def parse_text(data: bytes) -> Document:
    """Paragraphs between blank lines. A line underlined by =, -, ~ or the like is a heading, as in reStructuredText.

    Nothing is lost: other markup, of LaTeX say, stays in the text as it is written.
    """
    text, notes = decode_noted(data)
    text = without_long_blanks(text)
    blocks: list[Block] = []
    levels: list[str] = []  # a mark's level is the order in which the marks first appear
    for lines in _paragraphs(text):
        has_rule_above = len(lines) >= 3 and _is_rule(text, lines[0]) and _is_rule(text, lines[2])
        if has_rule_above:
            lines = lines[1:]
        if len(lines) >= 2 and _is_rule(text, lines[1]) and _length(text, lines[1]) >= _length(text, lines[0]) > 1:
            mark = text[slice(*lines[1])].strip()[0] * (1 + has_rule_above)
            if mark not in levels:
                levels.append(mark)
            blocks += _block("heading", text, *lines[0], levels.index(mark) + 1)
            lines = lines[2:]
        if lines:
            blocks += _block("text", text, lines[0][0], lines[-1][1])
    return titled(Document("text", "", text, tuple(blocks), notes))


def _paragraphs(text: str) -> Iterator[list[tuple[int, int]]]:
    """The places of the lines of each paragraph."""
    lines: list[tuple[int, int]] = []
    start = 0
    for line in text.split("\n"):
        if line.strip():
            lines.append((start, start + len(line)))
        elif lines:
            yield lines
            lines = []
        start += len(line) + 1
    if lines:
        yield lines


def _is_rule(text: str, line: tuple[int, int]) -> bool:
    rule = text[slice(*line)].strip()
    return len(rule) >= 3 and rule[0] in _RULE_MARKS and len(set(rule)) == 1


def _length(text: str, line: tuple[int, int]) -> int:
    return len(text[slice(*line)].strip())


def parse_markdown(data: bytes) -> Document:
    """Headings, paragraphs, lists, tables and code as CommonMark has them; the text of a block stays as it is written.

    The title is that of the front matter, if there is one; its other fields are text, as they are written. Horizontal
    rules, and HTML without words, are in no block.
    """
    from markdown_it import MarkdownIt

    text, notes = decode_noted(data)
    text = without_long_blanks(text)
    title, body_start, blocks = _front_matter(text)
    body = text[body_start:]
    # Tokens say which lines they span: where each line begins, in characters of the whole text.
    offsets = list(accumulate((len(line) + 1 for line in body.split("\n")), initial=body_start))
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    read_to = body_start
    for token in parser.parse(body):
        if token.level == 0 and token.map is not None:
            start, end = offsets[token.map[0]], min(offsets[token.map[1]], len(text))
            blocks += _rest(text, read_to, start) + _markdown_block(token, text, start, end)
            read_to = end
    blocks += _rest(text, read_to, len(text))
    title = title or _first_heading(text, blocks)
    return titled(Document("markdown", title, text, tuple(blocks), notes))


def _first_heading(text: str, blocks: Iterable[Block]) -> str:
    """The first heading as it is shown: without the targets of its links and marks of emphasis."""
    heading = next((text[block.start : block.end] for block in blocks if block.kind == "heading"), "")
    return _MARKUP.sub(r"\1", heading[:1_000]).strip()


def _rest(text: str, start: int, end: int) -> list[Block]:
    """What stands between the blocks of CommonMark: the targets of links, and notes, which look like them."""
    return _block("text", text, start, end) if any(ch.isalnum() for ch in text[start:end]) else []


def _markdown_block(token: Token, text: str, start: int, end: int) -> list[Block]:
    """The block of an outermost token of markdown-it, which spans `text[start:end]`."""
    if token.type == "hr":
        return []
    if token.type == "heading_open":
        return _markdown_heading(token, text, start, end)
    if token.type == "table_open":
        return _block("table", text, start, end, header=2)
    if token.type in ("fence", "code_block"):
        return _block("code", text, start, end)
    if token.type == "html_block" and not _has_words(text[start:end]):
        return []
    return _block("text", text, start, end)


def _markdown_heading(token: Token, text: str, start: int, end: int) -> list[Block]:
    """A heading without its marks: those before and behind it, or the line below it."""
    level = int(token.tag[1])
    written = text[start:end].rstrip()
    if token.markup.startswith("#"):
        inner = written.lstrip().lstrip("#")
        start += len(written) - len(inner)
        without_marks = inner.rstrip("#")
        is_closed = not without_marks or without_marks[-1] in " \t"
        return _block("heading", text, start, start + len(without_marks if is_closed else inner), level)
    written = written.rpartition("\n")[0].rstrip()
    n_lines = written.count("\n") + 1
    is_prose = n_lines > MAX_LINES_OF_A_HEADING or (n_lines > 1 and written.endswith(_SENTENCE_ENDS))
    if token.markup == "-" and (is_prose or len(written) > MAX_HEADING_CHARACTERS):
        return _block("text", text, start, start + len(written))
    return _block("heading", text, start, start + len(written), level)


def _has_words(html: str) -> bool:
    """Whether a piece of HTML says anything outside its tags and comments; a comment without an end does."""
    first, *others = html.split("<!--")
    parts = [first]
    for other in others:
        comment, end, after = other.partition("-->")
        parts.append(after if end else comment)
    return any(ch.isalnum() for ch in _TAG.sub("", "".join(parts)))


def _front_matter(text: str) -> tuple[str, int, list[Block]]:
    """The title in the front matter of a file, where the text below it begins, and blocks of its other fields.

    Front matter is YAML between lines of --- or TOML between lines of +++. Without its last line, or where a line at
    the margin is no field, it is text like any other.
    """
    lines = text.split("\n")
    opening = next((n for n, line in enumerate(lines) if line.strip()), 0)
    ends = _FENCES.get(lines[opening].rstrip(), ())
    last = next((n for n, line in enumerate(lines) if n > opening and line.rstrip() in ends), 0)
    if not last or not _are_fields(lines[opening + 1 : last]):
        return "", 0, []
    offsets = list(accumulate((len(line) + 1 for line in lines[: last + 1]), initial=0))
    title, first, after = _front_title(lines[:last])
    if not title or len(title) > MAX_TITLE_CHARACTERS:
        first = after = opening + 1
    places = ((offsets[opening + 1], offsets[first]), (offsets[after], offsets[last]))
    blocks = [block for start, end in places for block in _rest(text, start, end)]
    return title, min(offsets[last + 1], len(text)), blocks


def _are_fields(lines: list[str]) -> bool:
    """Whether lines are those of YAML or TOML: each that is not indented names a field, or goes on with one."""
    at_margin = [line for line in lines if line.strip() and line[0] not in " \t#-]}\"'"]
    return bool(at_margin) and all(_FRONT_KEY.match(line) for line in at_margin)


def _front_title(lines: list[str]) -> tuple[str, int, int]:
    """The title, and the lines that it stands in: from the first to before the last; it may go on in indented lines."""
    first = next((n for n, line in enumerate(lines) if _FRONT_TITLE.match(line)), 0)
    found = _FRONT_TITLE.match(lines[first]) if first else None
    if found is None:
        return "", 1, 1
    after = first + 1
    while after < len(lines) and lines[after][:1] in (" ", "\t") and lines[after].strip():
        after += 1
    value = found[1].strip()
    if value[:1] in (">", "|"):
        value = ""
    title = " ".join(" ".join([value, *lines[first + 1 : after]]).split())
    if quoted := _QUOTED.match(title):
        double, single = quoted[1] or quoted[3], quoted[2] or quoted[4]
        inner = single.replace("''", "'") if single else (double or "").replace('\\"', '"')
        return inner.strip(), first, after
    return title.partition(" #")[0].strip(), first, after


def _block(kind: BlockKind, text: str, start: int, end: int, level: int = 0, header: int = 0) -> list[Block]:
    """The block at `text[start:end]` without the whitespace around it; none where there is nothing else.

    The first line of code keeps its indentation.
    """
    piece = text[start:end].rstrip()
    end = start + len(piece)
    inner = without_blank_lines(piece) if kind == "code" else piece.lstrip()
    start = end - len(inner)
    return [Block(kind, start, end, level, header=header)] if end > start else []
