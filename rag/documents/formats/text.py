"""Plain text and Markdown."""

from __future__ import annotations

import re

from rag.documents.decode import decode
from rag.documents.document import Block, BlockKind, Document, titled


def parse_text(data: bytes) -> Document:
    """Paragraphs between blank lines; a line underlined by =, -, ~ or ^ is a heading, as in reStructuredText."""
    text, blocks, levels = decode(data), [], []
    for match in re.finditer(r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*", text):
        lines = list(re.finditer(r"[^\n]+", match[0]))
        start = match.start()
        if len(lines) >= 3 and _is_rule(lines[0][0]) and _is_rule(lines[2][0]):
            lines = lines[1:]
        if len(lines) >= 2 and _is_rule(lines[1][0]) and len(lines[1][0].strip()) >= len(lines[0][0].strip()) > 1:
            mark = lines[1][0].strip()[0]
            if mark not in levels:
                levels.append(mark)
            blocks += _block("heading", text, start + lines[0].start(), start + lines[0].end(), levels.index(mark) + 1)
            lines = lines[2:]
        if lines:
            blocks += _block("text", text, start + lines[0].start(), match.end())
    return titled(Document("text", "", text, tuple(blocks)))


def _block(kind: BlockKind, text: str, start: int, end: int, level: int = 0, header: int = 0) -> list[Block]:
    """The block at `text[start:end]` without the whitespace around it; none where there is nothing else."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end = start + len(piece.strip())
    return [Block(kind, start, end, level, header=header)] if end > start else []


def _is_rule(line: str) -> bool:
    line = line.strip()
    return len(line) >= 3 and len(set(line)) == 1 and line[0] in "=-~^*#\"'"


def parse_markdown(data: bytes) -> Document:
    """Blocks as CommonMark has them; their text stays as it is written, so that places in the file are exact."""
    from markdown_it import MarkdownIt

    text, title = decode(data), ""
    front = re.match(r"\A---\n(.*?)\n---\n", text, re.S)
    if front and (named := re.search(r"^title:\s*(.+)$", front[1], re.M)):
        title = named[1].strip("\"' ")
    skipped = front.end() if front else 0
    offsets = [skipped]
    for line in text[skipped:].split("\n"):
        offsets.append(offsets[-1] + len(line) + 1)
    blocks = []
    for token in MarkdownIt("commonmark").enable("table").parse(text[skipped:]):
        if token.level or token.map is None or token.type == "hr":
            continue
        start, end = offsets[token.map[0]], min(offsets[token.map[1]], len(text))
        if token.type == "heading_open":
            heading = re.match(r"\s*#*\s*(.*?)\s*(?:#+\s*)?(?:\n|\Z)", text[start:end])
            blocks += _block("heading", text, start + heading.start(1), start + heading.end(1), int(token.tag[1]))
        elif token.type == "table_open":
            blocks += _block("table", text, start, end, header=2)
        elif token.type in ("fence", "code_block"):
            blocks += _block("code", text, start, end)
        elif token.type == "html_block":
            if any(ch.isalnum() for ch in re.sub(r"<[^>]*>|<!--.*?-->", "", text[start:end], flags=re.S)):
                blocks += _block("text", text, start, end)
        else:
            blocks += _block("text", text, start, end)
    return titled(Document("markdown", title, text, tuple(blocks)))
