"""The sentence of a passage that answers a question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set

from rag.generate.copies import contains_words, normalized_words, telling_words
from rag.sentences import MAX_SENTENCES, sentence_spans
from rag.types import Passage, ReadSpan, Span

SHORT_WORDS = 12
"""An answer of so many words is short: it may stand in a sentence as it is."""

MIN_SHARED_LETTERS = 12
MAX_PASSAGE_CHARACTERS = 50_000
_BREAK = re.compile(r"\n[ \t]*\n|\n(?=[ \t]{0,40}(?:[-*+•‣◦▪–|]|\(?\d{1,3}[.)]) )|\n(?=[^\n]{0,400}? \| )")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LONGEST = 700


def sentences_of(text: str) -> list[Span]:
    """The sentences, items of lists, rows of tables and lines of code of a text, without the blanks around them."""
    return list(_with_code(text[:MAX_PASSAGE_CHARACTERS]))


def _with_code(text: str) -> Iterator[Span]:
    """As `sentences_of`: of code between fences each line stands for itself, and the fences are part of none."""
    start, fence = 0, ""
    for line in _LINE.finditer(text):
        mark = _FENCE.match(line[0])
        is_end = bool(fence) and mark is not None and mark[1].startswith(fence) and not line[0][mark.end() :].strip()
        if mark is not None and (is_end or not fence):
            yield from _moved(_sentences(text[start : line.start()]), start)
            start, fence = line.end(), "" if is_end else mark[1]
        elif fence:
            start = line.end()
            if line[0].strip():
                before = len(line[0]) - len(line[0].lstrip())
                yield line.start() + before, line.start() + len(line[0].rstrip())
    yield from _moved(_sentences(text[start:]), start)


def _moved(spans: Iterator[Span], by: int) -> Iterator[Span]:
    return ((start + by, end + by) for start, end in spans)


def _sentences(text: str) -> Iterator[Span]:
    start = 0
    for end in (*(match.start() for match in _BREAK.finditer(text)), len(text)):
        for a, b in _each(text[start:end]):
            piece = text[start + a : start + b]
            before = len(piece) - len(piece.lstrip())
            if piece.strip():
                yield start + a + before, start + a + len(piece.rstrip())
        start = end


def _each(text: str) -> Iterator[Span]:
    """Each sentence of a paragraph, also where so many are joined (`rag.sentences`)."""
    spans = sentence_spans(text)
    if len(spans) <= MAX_SENTENCES // 2:
        yield from spans
        return
    for start, end in spans:
        yield from ((start + a, start + b) for a, b in sentence_spans(text[start:end]))


def answering_sentence(
    passage: Passage, question: str, claims: Sequence[str] = (), span: ReadSpan | None = None
) -> Span | None:
    """The sentence of a passage's text, in characters, from which an answer came; None where none stands out.

    `claims` are the pieces of the answer that cite the passage. In order: the sentence that holds the words of a short
    claim, or most of a longer one; what a span reader reads there; the sentence that shares most words with the
    question.
    """
    text = passage.text
    sentences = sentences_of(text)
    words = [normalized_words(text[start:end]) for start, end in sentences]
    read = _around(sentences, span)
    asked = telling_words(normalized_words(question))
    for claim in claims:
        if (found := _holding(claim, words, asked, read)) is not None:
            return sentences[found]
    if read is not None and span is not None:
        first, last = read
        whole = (sentences[first][0], max(sentences[last][1], span.end))
        return whole if whole[1] - whole[0] <= _LONGEST else sentences[first]
    found = _nearest(asked, words, at_least=0.5)
    return None if found is None or claims else sentences[found]


def _around(sentences: Sequence[Span], span: ReadSpan | None) -> tuple[int, int] | None:
    """The first and the last sentence that a reader's span lies in; None where it sees no answer."""
    if span is None or not span.is_seen:
        return None
    inside = [n for n, (start, end) in enumerate(sentences) if start < span.end and span.start < end]
    return (inside[0], inside[-1]) if inside else None


def _holding(claim: str, words: Sequence[Sequence[str]], asked: Set[str], read: tuple[int, int] | None) -> int | None:
    """The number of the sentence that holds a claim; of several the one that is read, or that the question names."""
    wanted = normalized_words(claim)
    if not wanted:
        return None
    if len(wanted) <= SHORT_WORDS:
        held = [n for n, own in enumerate(words) if contains_words(own, wanted)]
        if held:
            return max(held, key=lambda n: (read is not None and read[0] <= n <= read[1], _shared(asked, words[n]), -n))
        if read is not None:
            return None
    return _nearest(telling_words(wanted), words, at_least=0.5, also=asked)


def _nearest(
    wanted: Set[str], words: Sequence[Sequence[str]], *, at_least: float, also: Set[str] = frozenset()
) -> int | None:
    """The sentence that shares most words; they are at least that share of what is wanted.

    With `also`, which tells between equal ones, that share of the sentence is enough: a claim may say more than it.
    """
    shared = [_shared(wanted, own) for own in words]
    best = max(
        range(len(words)), key=lambda n: (shared[n] + 0.5 * _shared(also, words[n]), -len(words[n])), default=None
    )
    if best is None or not shared[best]:
        return None
    whole = _letters(wanted)
    if also and shared[best] >= MIN_SHARED_LETTERS:
        whole = min(whole, _letters(telling_words(words[best])))
    return best if shared[best] >= at_least * whole else None


def _letters(words: Set[str]) -> int:
    return sum(map(len, words))


def _shared(wanted: Set[str], own: Sequence[str]) -> int:
    """The letters of the words that are shared: long words tell more."""
    return _letters(wanted & telling_words(own))
