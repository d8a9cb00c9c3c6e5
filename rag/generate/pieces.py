"""The pieces of a passage that are shown or left out as a whole: sentences; code, lists, addresses and tables.

What leads in to such a block ("To restart it, run:") and the block are one piece. Files differ in how they mark a
block: Markdown and plain text have fences, bullets and indentation, while of HTML only the words are left.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rag.sentences import MAX_SENTENCES, sentence_spans
from rag.types import Span

MAX_WORDS_OF_AN_ITEM = 25  # on average; a list of longer items is a text whose paragraphs have numbers
MAX_LINES_OF_A_LIST = 200  # a longer one is several
MAX_WORDS_OF_A_LINE, MAX_CHARACTERS_OF_A_LINE = 12, 200
MAX_WORDS_OF_AN_ADDRESS_LINE, MAX_LINES_OF_AN_ADDRESS = 6, 6
CHARACTERS_OF_A_LEAD_IN = 1_000  # its end tells what it is
COLONS = (":", "：")

_FENCE = re.compile(r"\s*(```|~~~)")
_ITEM = re.compile(r"\s*(?:[-*+•‣◦▪–]|\(?\d{1,3}[.)]|\(?[a-z]\))\s+\S")
_ROW = re.compile(r"\s*\||.* \| |.*\S\t+\S|(?: *+[^\S \n])*+[-=+:| ]{5,}+$")
_INDENTED = re.compile(r" {4,}\S|\t+\S")
_PROSE_END = re.compile(r"\w[\"'”’)\]]{0,2}[.!?…。！？][\"'”’)\]]{0,3}(?=\s|\Z)")
_CODE = re.compile(
    r"\s*(?:\$|>>>|#!|%|sudo) ?\S|.*(?:\s--?[a-z][\w-]*|[{};]$|\s=\s|\w=\S|&&|::|->|=>|\s[~.]?/\w)"
    r"|(?>.*?\w\().*\)|(?>.*?</?\w)[^>]*>"
)
_CONTACT = re.compile(
    r"\W*+(?:[\w .-]{1,30}[:.] ?)?"
    r"(?:https?://\S++|www\.\S++|[\w.+-]++@[\w-]++\.\S++|\+?\d[\d ()/.-]{6,}\d)\W*+\Z"
)
# Never a block, whatever surrounds it: markup of chats. Nor is it code by its signs alone: what names a model.
_CHAT_MARKUP = re.compile(r"<\s?\||\|\s?>|\[/?(?:INST|SYS)\]|<</?SYS>>")
_TO_A_MODEL = re.compile(r"\b(?:assistants?|instructions?|prompts?|language models?|ai|llm|system)\b", re.I)
_ANNOUNCES = re.compile(
    r"(?:\bas follows|\bthe following(?: \w+){0,3}|\blike (?:this|these|so)|\bbelow"
    r"|\b(?:this|these|one of these) (?:commands?|steps?|lines?|examples?|address(?:es)?|settings?|values?))\W*\Z",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """`text[start:end]`; from `block` on it is code, a list, an address or a table, before it are sentences."""

    start: int
    block: int
    end: int


def find_pieces(text: str, stands_apart: Callable[[str], bool]) -> list[Piece]:
    """The pieces of a text, in order; together they cover it. There are at most 64: of more, neighbours are joined.

    A sentence that `stands_apart` is joined to no other, and to no lead-in.
    """
    pieces: list[Piece] = []
    for start, block, end in _regions(text):
        spans = sentence_spans(text[start:block], stands_apart)
        found = [Piece(start + a, start + b, start + b) for a, b in spans]
        if block < end:
            found.append(Piece(block, block, end))
        for piece in found:
            if pieces and (joined := _joined(text, pieces[-1], piece, stands_apart)):
                pieces[-1] = joined
            else:
                pieces.append(piece)
    at_once = max(math.ceil(len(pieces) / MAX_SENTENCES), 1)
    groups = [pieces[n : n + at_once] for n in range(0, len(pieces), at_once)]
    return [group[0] if len(group) == 1 else Piece(group[0].start, group[-1].end, group[-1].end) for group in groups]


def piece_around(text: str, place: int) -> str:
    """The piece of a text in which this character stands, on one line: a sentence, or a lead-in with its block."""
    for piece in find_pieces(text, lambda sentence: False):
        if piece.start <= place < piece.end:
            return " ".join(text[piece.start : piece.end].split())
    return ""


def _joined(text: str, before: Piece, piece: Piece, stands_apart: Callable[[str], bool]) -> Piece | None:
    """Both as one piece, where the first leads in to the second; else None."""
    lead = text[max(before.start, before.end - CHARACTERS_OF_A_LEAD_IN) : before.end].rstrip()
    own = text[piece.start : piece.end]
    is_block = piece.block < piece.end
    n_blank = len(text[max(before.start, before.end - CHARACTERS_OF_A_LEAD_IN) : before.end]) - len(lead)
    gap = text[before.end - n_blank : piece.start]
    if is_block:
        # A sentence that has not ended goes on in the line below it.
        goes_on = before.block == before.end and gap.count("\n") < 2 and not _ends_sentence(lead)
        leads_in = goes_on or _leads_in(lead)
    else:
        leads_in = lead.endswith(COLONS) and not stands_apart(own)
    if not leads_in:
        return None
    return Piece(before.start, before.block if before.block < before.end else piece.block, piece.end)


def _leads_in(text: str) -> bool:
    """Whether a text announces what follows it: "… run:", "… with this command."."""
    text = text.rstrip()
    return text.endswith(COLONS) or _ANNOUNCES.search(text[-100:]) is not None


def _regions(text: str) -> Iterator[tuple[int, int, int]]:
    """(start, block, end) of stretches that cover the text: sentences up to `block`, from there on a block, if any."""
    start = 0
    for block, end in _blocks(text):
        yield start, block, end
        start = end
    yield start, len(text), len(text)


def _blocks(text: str) -> Iterator[Span]:
    """Where code, lists, addresses and tables stand, in order."""
    lines = text.splitlines(keepends=True)
    ends = list(itertools.accumulate((len(line) for line in lines), initial=0))
    n = 0
    is_announced = False  # by the line before, blank ones aside
    while n < len(lines):
        end = _block_end(lines, n, is_announced=is_announced) if lines[n].strip() else n
        if end > n and not _CHAT_MARKUP.search("".join(lines[n:end])):
            yield ends[n], ends[end]
        n = max(end, n + 1)
        is_announced = _leads_in(lines[n - 1]) if lines[n - 1].strip() else is_announced


def _block_end(lines: Sequence[str], n: int, *, is_announced: bool) -> int:
    """The number of the line behind the block that begins at line `n`; `n` where none does."""
    line = lines[n]
    if fence := _FENCE.match(line):
        closing = (m for m in range(n + 1, len(lines)) if lines[m].strip().startswith(fence[1]))
        return next(closing, len(lines) - 1) + 1
    if _ITEM.match(line):
        return _list_end(lines, n, is_announced=is_announced)
    if _ROW.match(line):
        return _first(lines, n, lambda other: _ROW.match(other) is None)
    if is_announced:
        return _announced_end(lines, n)
    if n and lines[n - 1].strip() and not _starts_block(lines[n - 1]):
        return n  # within a paragraph
    end = _paragraph_end(lines, n)
    return end if _is_code(lines[n:end]) or _is_address(lines[n:end]) else n


def _announced_end(lines: Sequence[str], n: int) -> int:
    """The line behind what a lead-in announces where nothing marks it: short lines that are no sentences."""
    end = m = n
    while m < len(lines) and not _starts_block(lines[m]):
        if not lines[m].strip():
            m += 1
            continue
        stop = _paragraph_end(lines, m)
        if not _are_short(lines[m:stop]):
            break
        end = m = stop
    if end == n and n and lines[n - 1].strip():
        # In the lead-in's own paragraph a new sentence ends what it announces; a sentence that goes on is none.
        sentence = _first(lines, n, lambda line: not line.strip() or not _are_short([line]))
        end = sentence if sentence < len(lines) and not lines[sentence].lstrip()[:1].islower() else n
    return end


def _list_end(lines: Sequence[str], n: int, *, is_announced: bool) -> int:
    """The line behind a list; `n` where its items are so long that they are rather the paragraphs of a text."""
    end = n
    n_items = n_words = 0
    indentation = _indentation(lines[n])
    for m in range(n, min(len(lines), n + MAX_LINES_OF_A_LIST)):
        line = lines[m]
        if not line.strip():
            continue
        is_item = _ITEM.match(line) is not None
        goes_on = _indentation(line) > indentation or (m > n and lines[m - 1].strip() and line.lstrip()[0].islower())
        if not (is_item or goes_on):
            break
        n_items += is_item
        n_words += len(line.split())
        end = m + 1
    return end if is_announced or n_words <= n_items * MAX_WORDS_OF_AN_ITEM else n


def _first(lines: Sequence[str], n: int, ends: Callable[[str], bool]) -> int:
    """The number of the first line from `n` on that `ends` what begins there."""
    return next((m for m in range(n, len(lines)) if ends(lines[m])), len(lines))


def _paragraph_end(lines: Sequence[str], n: int) -> int:
    return _first(lines, n, lambda line: not line.strip() or _starts_block(line))


def _starts_block(line: str) -> bool:
    return bool(_FENCE.match(line) or _ITEM.match(line) or _ROW.match(line))


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _ends_sentence(text: str) -> bool:
    return _PROSE_END.search(text.rstrip()[-5:]) is not None


def _are_short(paragraph: Sequence[str]) -> bool:
    """Whether lines are no sentences: a line or two of code, an item of a list, an address."""
    are_short = all(
        len(line) <= MAX_CHARACTERS_OF_A_LINE and len(line.split()) <= MAX_WORDS_OF_A_LINE for line in paragraph
    )
    return (
        are_short
        and not any(_PROSE_END.search(line) for line in paragraph)
        and not paragraph[-1].rstrip().endswith(COLONS)
    )


def _is_code(paragraph: Sequence[str]) -> bool:
    """Whether lines without a fence are code: indented or full of its signs, and no sentences."""
    if any(_ends_sentence(line) for line in paragraph) or paragraph[-1].rstrip().endswith(COLONS):
        return False
    if all(_INDENTED.match(line) for line in paragraph):
        return True
    if not _are_short(paragraph) or _TO_A_MODEL.search("".join(paragraph)):
        return False
    return 2 * sum(_CODE.match(line.rstrip()) is not None for line in paragraph) >= len(paragraph)


def _is_address(paragraph: Sequence[str]) -> bool:
    """Whether lines are an address: of the web, a telephone, or a few short lines with a number among them."""
    if all(_CONTACT.match(line.strip()) for line in paragraph):
        return True
    are_words = all(len(line.split()) <= MAX_WORDS_OF_AN_ADDRESS_LINE for line in paragraph)
    has_form = 2 <= len(paragraph) <= MAX_LINES_OF_AN_ADDRESS and are_words and _are_short(paragraph)
    return has_form and any(ch.isdigit() for line in paragraph for ch in line)
