"""Near-twins: questions in which a name or a number is exchanged for another question's of the same shape."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

TRIES = 10
NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?!\w)")
NAME = re.compile(r"(?<!\w)[A-Z][\w-]+(?: [A-Z][\w-]+)*")

Shape = tuple[str, str]
"""("number", its digits as 0) or ("name", how many words it has)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What can be exchanged in a question: characters `start` to `end`."""

    start: int
    end: int
    text: str
    shape: Shape


def pieces(question: str) -> list[Piece]:
    """The numbers of a question, and its names: words with capitals behind the first word."""
    found = [
        Piece(*match.span(), match[0], ("number", re.sub(r"\d", "0", match[0]))) for match in NUMBER.finditer(question)
    ]
    first = re.match(r"\s*\S+", question)  # it has a capital, whatever it is
    for match in NAME.finditer(question, first.end() if first else 0):
        found.append(Piece(*match.span(), match[0], ("name", str(match[0].count(" ") + 1))))
    return found


def pieces_by_shape(questions: Iterable[str]) -> dict[Shape, list[str]]:
    """What can stand in the place of a piece: all texts of its shape, each once, in order."""
    found: dict[Shape, set[str]] = {}
    for question in questions:
        for piece in pieces(question):
            found.setdefault(piece.shape, set()).add(piece.text)
    return {shape: sorted(texts) for shape, texts in found.items()}


def near_twins(question: str, others: Mapping[Shape, list[str]], rng: random.Random) -> Iterator[tuple[str, str]]:
    """(a near-twin of the question, what stands in it now) at random, a few; none where nothing can be exchanged."""
    own = pieces(question)
    if not own:
        return
    for _ in range(TRIES):
        piece = rng.choice(own)
        other = rng.choice(others.get(piece.shape, [piece.text]))
        if other.lower() not in question.lower():
            yield question[: piece.start] + other + question[piece.end :], other
