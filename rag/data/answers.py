"""Where a known answer stands in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rag.data.questions import Question
from rag.scripts import HANGUL, UNSPACED
from rag.types import CANNOTANSWER, Span

JUDGEMENTS = ("yes", "no")
"""Answers that judge what a text says; where these words stand in it, they are not the answer."""
_SPACED = rf"[^\W{UNSPACED}{HANGUL}]"  # Korean endings grow onto their word
_IS_SPACED = re.compile(r"(?!_)" + _SPACED)


def references(question: Question) -> tuple[str, ...]:
    """The answers that count as right: the known one and its aliases; none where the question is unanswerable."""
    known = dict.fromkeys(answer.strip() for answer in (question.answer or "", *question.aliases))
    return tuple(answer for answer in known if answer and answer != CANNOTANSWER)


def find_answers(text: str, answers: Iterable[str]) -> list[Span]:
    """Every place where one of the answers stands in `text`, as whole words; in order.

    Capitals do not count, nor how words are spaced. What stands in the text of `yes` and `no` is never an answer.
    """
    found: set[Span] = set()
    for answer in answers:
        words = answer.split()
        if not words or answer.strip(" .!").lower() in JUDGEMENTS:
            continue
        # A word ends where no letter or digit follows, or one of a script that puts no spaces between words. An answer
        # that ends otherwise, as in "C++", ends anywhere, and so does one in such a script.
        begin = f"(?<!{_SPACED})" if _IS_SPACED.match(words[0][0]) else ""
        end = f"(?!{_SPACED})" if _IS_SPACED.match(words[-1][-1]) else ""
        pattern = begin + r"\s+".join(map(re.escape, words)) + end
        found.update(match.span() for match in re.finditer(pattern, text, re.IGNORECASE))
    return sorted(found)
