"""Citations in an answer: the markers `[n]` that a model writes are taken out; `rag.marks` shows them again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.scripts import is_unspaced
from rag.types import Passage

# How much text before a bracket must match a passage for the bracket to count as copied from it.
CHARACTERS_OF_A_COPY = 15
CITATION = re.compile(
    r"(?<![ \t])[ \t]*+[\[【［]\s*+(?:passages?\s++)?\d{1,3}(?:\s*+[,;，；、]\s*+\d{1,3})*+\s*+[\]】］]", re.I
)
"""A marker with the blanks before it, also with the brackets of Chinese and Japanese."""
_CLAUSE_GOES_ON = re.compile(r"\s*+(?:[.!?;,](?:\s|\Z)|[。！？；，、]|[\[【［])")

Mark = tuple[int, tuple[str, ...]]


def split_citations(text: str, passages: Sequence[Passage]) -> tuple[str, list[Mark]]:
    """(text without citation markers, where they stood). `items[0]` within a sentence is code, not a marker.

    A mark is (offset in the text that is left, ids of the passages); numbers that no passage has are dropped.
    """
    contents = [_collapsed(passage.content) for passage in passages]
    first_word = next((n for n, ch in enumerate(text) if ch.isalnum()), len(text))
    last = len(text.rstrip())
    left: list[str] = []
    length = 0
    marks: list[Mark] = []
    end = 0
    for match in CITATION.finditer(text):
        if _is_text(text, match, contents, has_words_before=first_word < match.start(), is_last=match.end() >= last):
            continue
        left.append(text[end : match.start()])
        length += len(left[-1])
        end = match.end()
        numbers = [int(digits) for digits in re.findall(r"\d+", match[0])]
        marks.append((length, tuple(passages[n - 1].id for n in numbers if 1 <= n <= len(passages))))
    return "".join([*left, text[end:]]), marks


def moved(marks: Sequence[Mark], span: tuple[int, int]) -> tuple[Mark, ...]:
    """The marks of a text as those of `text[start:end]`: one for each place, those outside at its ends."""
    start, end = span
    places: dict[int, tuple[str, ...]] = {}
    for offset, cited in marks:
        place = min(max(offset, start), end) - start
        if cited:
            places[place] = tuple(dict.fromkeys([*places.get(place, ()), *cited]))
    return tuple(places.items())


def cited_by(marks: Sequence[Mark]) -> tuple[str, ...]:
    """The ids of all marks, each once, in order."""
    return tuple(dict.fromkeys(pid for _, cited in marks for pid in cited))


def _is_text(text: str, match: re.Match, contents: Sequence[str], *, has_words_before: bool, is_last: bool) -> bool:
    """Whether a bracket is part of the answer: copied from a passage, or attached to a word as in code."""
    if _is_copied(text, match, contents, has_words_before=has_words_before):
        return True
    # A bracket attached to a word is code, unless a clause or the text ends behind it.
    before = text[max(match.start() - 1, 0) : match.start()]
    attached = not match[0][0].isspace() and before != "" and (before.isalnum() or before in "_)")
    attached = attached and not is_unspaced(before)
    return attached and not is_last and _CLAUSE_GOES_ON.match(text, match.end()) is None


def _is_copied(text: str, match: re.Match, contents: Sequence[str], *, has_words_before: bool) -> bool:
    """Whether a bracket was copied from a passage: it stands there after the same words.

    At the beginning of an answer no words stand before it. There a single number from 1, as in `[2]`, is taken for a
    citation; other brackets are copied if any passage holds them.
    """
    copy = _collapsed(match[0])
    if has_words_before:
        copy = _end_of(text, match.end(), len(copy) + CHARACTERS_OF_A_COPY)
    elif re.fullmatch(r"[\[【［]\s*0*[1-9]\d*\s*[\]】］]", copy):
        return False
    return any(copy in content for content in contents)


def _end_of(text: str, end: int, n_characters: int) -> str:
    """The last characters of `text[:end]`, its spaces made single; more is read only where there are many spaces."""
    n_read = 4 * n_characters
    while True:
        start = max(end - n_read, 0)
        found = _collapsed(text[start:end])
        if start == 0 or len(found) > n_characters:
            return found[-n_characters:]
        n_read *= 2


def _collapsed(text: str) -> str:
    return " ".join(text.split())
