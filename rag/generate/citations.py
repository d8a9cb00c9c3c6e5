"""Citations in an answer: the markers `[n]` that a model writes are taken out; `rag.marks` shows them again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.scripts import is_unspaced
from rag.types import Passage

# How much text before a bracket must match a passage for the bracket to count as copied from it.
CHARACTERS_OF_A_COPY = 15
CITATION = re.compile(r"[ \t]*[\[【［]\s*(?:passages?\s+)?\d{1,3}(?:\s*[,;，；、]\s*\d{1,3})*\s*[\]】］]", re.I)
"""A marker, also with the brackets of Chinese and Japanese."""

Mark = tuple[int, tuple[str, ...]]


def split_citations(text: str, passages: Sequence[Passage]) -> tuple[str, list[Mark]]:
    """(text without citation markers, where they stood). `items[0]` within a sentence is code, not a marker.

    A mark is (offset in the text that is left, ids of the passages); numbers that no passage has are dropped.
    """
    contents = [_collapsed(passage.content) for passage in passages]
    left = ""
    marks: list[Mark] = []
    end = 0
    for match in CITATION.finditer(text):
        if _is_text(text, match, contents):
            continue
        left += text[end : match.start()]
        end = match.end()
        numbers = [int(digits) for digits in re.findall(r"\d+", match[0])]
        marks.append((len(left), tuple(passages[n - 1].id for n in numbers if 1 <= n <= len(passages))))
    return left + text[end:], marks


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


def _is_text(text: str, match: re.Match, contents: Sequence[str]) -> bool:
    """Whether a bracket is part of the answer: copied from a passage, or attached to a word as in code."""
    before, after = text[: match.start()], text[match.end() :]
    if _is_copied(before, match[0], contents):
        return True
    # A bracket attached to a word is code, unless a clause or the text ends behind it.
    attached = not match[0][0].isspace() and before != "" and (before[-1].isalnum() or before[-1] in "_)")
    attached = attached and not is_unspaced(before[-1])
    ends = not after.strip() or re.match(r"\s*(?:[.!?;,](?:\s|\Z)|[。！？；，、]|[\[【［])", after) is not None
    return attached and not ends


def _is_copied(before: str, marker: str, contents: Sequence[str]) -> bool:
    """Whether a bracket was copied from a passage: it stands there after the same words.

    At the beginning of an answer no words stand before it. There a single number from 1, as in `[2]`, is taken for a
    citation; other brackets are copied if any passage holds them.
    """
    copy = _collapsed(marker)
    if any(ch.isalnum() for ch in before):
        copy = _collapsed(before + marker)[-len(copy) - CHARACTERS_OF_A_COPY :]
    elif re.fullmatch(r"[\[【［]\s*0*[1-9]\d*\s*[\]】］]", copy):
        return False
    return any(copy in content for content in contents)


def _collapsed(text: str) -> str:
    return " ".join(text.split())
