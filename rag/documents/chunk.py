"""Documents become passages that fit the encoder: along headings and sentences, measured by its own tokenizer."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.documents.document import Block, Document
from rag.sentences import END_BEFORE_SPACE, END_WITHOUT_SPACE

CountTokens = Callable[[Sequence[str]], list[int]]

MAX_HEADING_CHARACTERS = 120
"""A longer heading is cut in the path of headings, and stands in the text as a whole."""

_SENTENCE_END = re.compile(rf"{END_BEFORE_SPACE}(?=\s)|\n{{2,}}|{END_WITHOUT_SPACE}")
_LINE_END = re.compile(r"\n+")
_WORD = re.compile(r"\S+\s*")
MAX_CHARACTERS_A_TOKEN = 32
"""No piece has more characters for each token that a chunk may have, whatever its tokens: blanks may be none at all."""


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """`max_tokens` bounds title and text together; `overlap_tokens` of a chunk are repeated by the next."""

    max_tokens: int = 256
    overlap_tokens: int = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """`text` is `document.text[start:end]`, below the table's header lines where it goes on with a table.

    `heading` is the path of headings above it; `page` that of its beginning.
    """

    start: int
    end: int
    text: str
    heading: tuple[str, ...]
    page: int | None


@dataclass(frozen=True, slots=True)
class _Span:
    """A sentence, a line of code or a row of a table, and the path of headings above it."""

    start: int
    end: int
    block: Block
    heading: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A span that fits into a chunk, or a part of one; what it costs, and what the headings before it would add."""

    start: int
    end: int
    tokens: int
    gap_tokens: int
    block: Block
    heading: tuple[str, ...]


def chunk_document(document: Document, count_tokens: CountTokens, settings: ChunkSettings) -> list[Chunk]:
    """The chunks of a document, in order; together they cover every block that is no heading.

    A heading that is too long for the path, or has nothing below it, is text.

    `count_tokens` gives the encoder's tokens of each text, without special tokens or prompt. A chunk ends where a
    section ends, unless it would stay shorter than a quarter of the limit; never inside a sentence, a line of code or a
    row of a table, unless that alone is longer than the limit.
    """
    return _Chunker(document, count_tokens, settings).chunks()


def title_of(document_title: str, heading: Sequence[str]) -> str:
    """What stands above a chunk: the document's title and the headings, each once."""
    return " › ".join(dict.fromkeys(part for part in (document_title, *heading) if part))


def _shortened(heading: str) -> str:
    """A heading as it stands in a path: cut behind a word, with a mark, where it is longer than is allowed."""
    if len(heading) <= MAX_HEADING_CHARACTERS:
        return heading
    cut = heading[: MAX_HEADING_CHARACTERS - 1]
    return f"{cut.rpartition(' ')[0] or cut}…"


def _split_at(end: re.Pattern, text: str) -> list[tuple[int, int]]:
    """The spans between the ends of matches; together they cover the whole text."""
    ends = [0, *(match.end() for match in end.finditer(text)), len(text)]
    return [(a, b) for a, b in itertools.pairwise(ends) if b > a]


class _Chunker:
    """Cuts one document into pieces, and fills chunks with them, first come first served."""

    def __init__(self, document: Document, count_tokens: CountTokens, settings: ChunkSettings):
        self._document = document
        self._count = count_tokens
        self._settings = settings
        self._longest = MAX_CHARACTERS_A_TOKEN * settings.max_tokens
        self._known: dict[str, int] = {}  # titles and header lines, which many chunks share
        self._headers: dict[int, str] = {}  # where a table begins -> its header lines

    def chunks(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        current: list[_Piece] = []
        tokens = 0  # of the current pieces, and of the headings between them
        for piece in self._pieces():
            if current and self._is_full(current, tokens, piece):
                chunks.append(self._chunk(current))
                current = self._overlap(current, piece)
                tokens = sum(each.tokens for each in current) + sum(each.gap_tokens for each in current[1:])
            tokens += piece.tokens + (piece.gap_tokens if current else 0)
            current.append(piece)
        if current:
            chunks.append(self._chunk(current))
        return [chunk for chunk in chunks if chunk.text.strip()]

    def _pieces(self) -> list[_Piece]:
        """The text in the smallest pieces that may begin and end a chunk; each fits into one."""
        text = self._document.text
        spans = self._spans()
        ends_before = [0, *(span.end for span in spans)]
        between = [text[end : span.start].strip() for end, span in zip(ends_before, spans, strict=False)]
        # All at once: that is where a tokenizer is fast. What is too long as it is needs no count.
        wholes = [text[span.start : span.end] if span.end - span.start <= self._longest else "" for span in spans]
        counts = self._count(wholes)
        gaps = self._count(between)
        self._count_titles(spans)
        pieces: list[_Piece] = []
        for span, whole, n_tokens, gap in zip(spans, wholes, counts, gaps, strict=True):
            tokens = max(n_tokens, 1)  # blank lines fill a chunk, too
            room = self._room(span.heading) - self._header_tokens(span.block)
            if whole and tokens <= room:
                pieces.append(_Piece(span.start, span.end, tokens, gap, span.block, span.heading))
            else:
                pieces += self._split(span, gap, room)
        return pieces

    def _count_titles(self, spans: Sequence[_Span]) -> None:
        """Count the tokens of all titles and header lines at once."""
        headings = dict.fromkeys(span.heading for span in spans)
        texts = [title_of(self._document.title, heading) for heading in headings]
        texts += [header for block in self._document.blocks if (header := self._header_lines(block))]
        texts = list(dict.fromkeys(["", *texts]))
        self._known |= zip(texts, self._count(texts), strict=True)

    def _spans(self) -> list[_Span]:
        """The sentences, lines of code and rows of tables, in order, each below its path of headings."""
        text = self._document.text
        spans: list[_Span] = []
        path: list[tuple[int, str]] = []  # (level, heading) of the section that the next block stands in
        for n, block in enumerate(self._document.blocks):
            if block.kind == "heading" and not self._stands_alone(n):
                path = [item for item in path if item[0] < block.level]
                name = " ".join(text[block.start : block.end].split())
                path.append((block.level, _shortened(name)))
                if len(name) <= MAX_HEADING_CHARACTERS:
                    continue
                block = dataclasses.replace(block, kind="text")  # what is too long for the path is text as well
            heading = tuple(name for _, name in path)
            end_of_piece = _SENTENCE_END if block.kind == "text" else _LINE_END
            for start, end in _split_at(end_of_piece, text[block.start : block.end]):
                spans.append(_Span(block.start + start, block.start + end, block, heading))
        return spans

    def _stands_alone(self, n: int) -> bool:
        """Whether nothing but headings of its own depth or above follows a heading: it is then all there is to say."""
        blocks = self._document.blocks
        return n + 1 == len(blocks) or (blocks[n + 1].kind == "heading" and blocks[n + 1].level <= blocks[n].level)

    def _split(self, span: _Span, gap_tokens: int, room: int) -> list[_Piece]:
        """A piece longer than a chunk, cut between words; a word that is longer still, between characters."""
        text = self._document.text
        words = [(span.start + m.start(), span.start + m.end()) for m in _WORD.finditer(text[span.start : span.end])]
        step = max(room // 4, 1)  # no tokenizer makes more tokens than bytes, and no character has more than four
        words = [(low, min(low + step, end)) for start, end in words for low in range(start, end, step)]
        pieces: list[_Piece] = []

        def cut(start: int, end: int, tokens: int) -> None:
            gap = gap_tokens if start == span.start else 0  # headings stand before the first piece alone
            pieces.append(_Piece(start, end, max(tokens, 1), gap, span.block, span.heading))

        first = span.start
        tokens = 0
        for (word, end), n in zip(words, self._count([text[start:end] for start, end in words]), strict=True):
            if (tokens and tokens + n > room) or end - first > self._longest:
                cut(first, word, tokens)
                first = word
                tokens = 0
            tokens += n
        cut(first, span.end, tokens)
        return pieces

    def _tokens(self, text: str) -> int:
        if text not in self._known:
            (self._known[text],) = self._count([text])
        return self._known[text]

    def _room(self, heading: tuple[str, ...]) -> int:
        """Tokens that the text of a chunk may take beside its title; at least half of all."""
        title = self._tokens(title_of(self._document.title, heading))
        return max(self._settings.max_tokens - title, self._settings.max_tokens // 2)

    def _header_tokens(self, block: Block) -> int:
        """The tokens of the lines that name a table's columns, which each later chunk of the table repeats."""
        header = self._header_of(block)
        return self._tokens(header) if header else 0

    def _is_full(self, current: list[_Piece], tokens: int, piece: _Piece) -> bool:
        if piece.heading != current[0].heading and tokens >= self._settings.max_tokens // 4:
            return True
        header = self._tokens(self._header(current[0]))
        return header + tokens + piece.gap_tokens + piece.tokens > self._room(current[0].heading)

    def _overlap(self, current: list[_Piece], following: _Piece) -> list[_Piece]:
        """The last sentences again, where the same section of running text goes on and they leave room for it."""
        if following.heading != current[-1].heading or following.block.kind != "text":
            return []
        room = self._room(following.heading) - following.tokens - following.gap_tokens
        allowed = min(self._settings.overlap_tokens, room)
        kept: list[_Piece] = []
        for piece in reversed(current[1:]):
            taken = sum(each.tokens + each.gap_tokens for each in kept)
            if piece.block.kind != "text" or taken + piece.tokens > allowed:
                break
            kept.insert(0, piece)
        return kept

    def _header(self, first: _Piece) -> str:
        """The lines that name a table's columns, where a chunk begins below them."""
        header = self._header_of(first.block)
        return header if first.start >= first.block.start + len(header) else ""

    def _header_of(self, block: Block) -> str:
        """The lines that name a table's columns, unless they are too long to be repeated."""
        if block.start not in self._headers:
            header = self._header_lines(block)
            is_short = bool(header) and self._tokens(header) <= self._settings.max_tokens // 4
            self._headers[block.start] = header if is_short else ""
        return self._headers[block.start]

    def _header_lines(self, block: Block) -> str:
        """The lines that name a table's columns; "" where they have too many characters to be counted."""
        if block.kind != "table" or not block.header:
            return ""
        end = block.start
        for _ in range(block.header):
            end = self._document.text.find("\n", end, block.end) + 1
            if not end:
                end = block.end + 1
                break
        is_long = end - block.start > self._longest
        return "" if is_long else self._document.text[block.start : end - 1]

    def _chunk(self, pieces: list[_Piece]) -> Chunk:
        start = pieces[0].start
        end = pieces[-1].end
        text = self._document.text[start:end]
        # A line of code keeps its indentation.
        start += len(text) - len(text.lstrip(None if pieces[0].block.kind == "text" else "\n"))
        end -= len(text) - len(text.rstrip())
        text = self._document.text[start:end]
        header = self._header(pieces[0])
        return Chunk(start, end, f"{header}\n{text}" if header else text, pieces[0].heading, pieces[0].block.page)
