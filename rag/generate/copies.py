"""Whether words of an answer were copied out of a passage. What was copied is text, whatever it looks like."""

from __future__ import annotations

import functools
import itertools
import string
from collections.abc import Sequence

from rag.scripts import is_unspaced, normalized, spaced_out
from rag.types import Passage

_WITHOUT_PUNCTUATION = str.maketrans(
    dict.fromkeys(string.punctuation + "–—’“”…。，、！？；：「」『』（）《》〈〉【】・؟،।", " ")
)


def normalized_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; each letter of a script without spaces is one.

    Characters are in their usual form, so that a word is the same however it is encoded.
    """
    return spaced_out(normalized(text).lower()).translate(_WITHOUT_PUNCTUATION).split()


def telling_words(words: Sequence[str]) -> set[str]:
    """The words, but letters of a script without spaces in pairs: one alone stands in nearly every text."""
    pairs = {
        first + second for first, second in itertools.pairwise(words) if is_unspaced(first) and is_unspaced(second)
    }
    return {word for word in words if not is_unspaced(word)} | pairs or set(words)


def contains_words(words: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether `wanted` occurs in `words` as a sequence without gaps."""
    return f" {' '.join(wanted)} " in f" {' '.join(words)} "


def is_copied(words: Sequence[str], passages: Sequence[Passage]) -> bool:
    """Whether these normalized words stand in a passage without gaps."""
    wanted = f" {' '.join(words)} "
    return bool(words) and any(wanted in _normalized_line(passage.content) for passage in passages)


@functools.lru_cache(maxsize=64)
def _normalized_line(content: str) -> str:
    """A passage's normalized words between spaces: an answer is compared with the same few passages many times."""
    return f" {' '.join(normalized_words(content))} "
