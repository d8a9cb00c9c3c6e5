"""Plain text and Markdown. The document's text is the file's own, so that places in it are places in the file."""

from __future__ import annotations

import re
from itertools import accumulate

from rag.documents.decode import decode
from rag.documents.document import Block, BlockKind, Document, titled

_PARAGRAPH = re.compile(r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*")
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.S)
_FRONT_TITLE = re.compile(r"^title:\s*(.+)$", re.M)
_MARKDOWN_HEADING = re.compile(r"\s*#*\s*(.*?)\s*(?:#+\s*)?(?:\n|\Z)")
_TAG_OR_COMMENT = re.compile(r"<[^>]*>|<!--.*?-->", re.S)
_RULE_MARKS = "=-~^*#\"'"


def parse_text(data: bytes) -> Document:
    """Paragraphs between blank lines. A line underlined by =, -, ~ or the like is a heading, as in reStructuredText.

    Nothing is lost: other markup, of LaTeX say, stays in the text as it is written.
    """
    text = decode(data)
    blocks: list[Block] = []
    levels: list[str] = []  # a mark's level is the order in which the marks first appear
    for paragraph in _PARAGRAPH.finditer(text):
        start = paragraph.start()
        lines = list(re.finditer(r"[^\n]+", paragraph[0]))
        if len(lines) >= 3 and _is_rule(lines[0][0]) and _is_rule(lines[2][0]):
            lines = lines[1:]  # a rule above the heading too
        if len(lines) >= 2 and _is_rule(lines[1][0]) and len(lines[1][0].strip()) >= len(lines[0][0].strip()) > 1:
            mark = lines[1][0].strip()[0]
            if mark not in levels:
                levels.append(mark)
            blocks += _block("heading", text, start + lines[0].start(), start + lines[0].end(), levels.index(mark) + 1)
            lines = lines[2:]
        if lines:
            blocks += _block("text", text, start + lines[0].start(), paragraph.end())
    return titled(Document("text", "", text, tuple(blocks)))


def _is_rule(line: str) -> bool:
    line = line.strip()
    return len(line) >= 3 and len(set(line)) == 1 and line[0] in _RULE_MARKS


def parse_markdown(data: bytes) -> Document:
    """Headings, paragraphs, lists, tables and code as CommonMark has them; the text of a block stays as it is written.

    The title is that of the front matter, if there is one. The rest of the front matter, horizontal rules, and HTML
    without words are in no block.
    """
    from markdown_it import MarkdownIt

    text = decode(data)
    title = ""
    body_start = 0
    if front := _FRONT_MATTER.match(text):
        body_start = front.end()
        if named := _FRONT_TITLE.search(front[1]):
            title = named[1].strip("\"' ")
    body = text[body_start:]
    # Tokens say which lines they span: where each line begins, in characters of the whole text.
    offsets = list(accumulate((len(line) + 1 for line in body.split("\n")), initial=body_start))
    blocks: list[Block] = []
    for token in MarkdownIt("commonmark").enable("table").parse(body):
        if token.level == 0 and token.map is not None:
            blocks += _markdown_block(token, text, offsets[token.map[0]], min(offsets[token.map[1]], len(text)))
    return titled(Document("markdown", title, text, tuple(blocks)))


def _markdown_block(token, text: str, start: int, end: int) -> list[Block]:
    """The block of an outermost token of markdown-it, which spans `text[start:end]`."""
    if token.type == "hr":
        return []
    if token.type == "heading_open":
        if heading := _MARKDOWN_HEADING.match(text[start:end]):
            start, end = start + heading.start(1), start + heading.end(1)
        return _block("heading", text, start, end, int(token.tag[1]))
    if token.type == "table_open":
        return _block("table", text, start, end, header=2)
    if token.type in ("fence", "code_block"):
        return _block("code", text, start, end)
    if token.type == "html_block" and not any(ch.isalnum() for ch in _TAG_OR_COMMENT.sub("", text[start:end])):
        return []
    return _block("text", text, start, end)


def _block(kind: BlockKind, text: str, start: int, end: int, level: int = 0, header: int = 0) -> list[Block]:
    """The block at `text[start:end]` without the whitespace around it; none where there is nothing else."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end = start + len(piece.strip())
    return [Block(kind, start, end, level, header=header)] if end > start else []
