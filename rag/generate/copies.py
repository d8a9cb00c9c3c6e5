"""Whether words of an answer were copied out of a passage. What was copied is text, whatever it looks like."""

from __future__ import annotations

import string
from collections.abc import Sequence

from rag.types import Passage


def normalized_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    table = str.maketrans(dict.fromkeys(string.punctuation + "–—’“”…", " "))
    return text.lower().translate(table).split()


def contains_words(words: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether `wanted` occurs in `words` as a sequence without gaps."""
    return f" {' '.join(wanted)} " in f" {' '.join(words)} "


def is_copied(words: Sequence[str], passages: Sequence[Passage]) -> bool:
    """Whether these normalized words stand in a passage without gaps."""
    return bool(words) and any(contains_words(normalized_words(passage.content), words) for passage in passages)
