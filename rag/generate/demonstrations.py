"""Questions answered before show the generator what form an answer takes: in-context examples, chosen by question.

Liu et al. 2022, “What Makes Good In-Context Examples for GPT-3?” (https://aclanthology.org/2022.deelio-1.10) choose the
nearest by embeddings. Here they are the nearest by words, and none where none is near: a small model takes the form of
an answer from an example, and from one about something else also the answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_ANSWER_WORDS, MAX_CHARACTERS = 60, 600


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A question and the answer that was good for it."""

    question: str
    answer: str


class Demonstrations:
    """Answered questions to choose from: the `n` most like a question among those that are like it.

    Likeness is the Jaccard index of two questions' words, words in common over words in either, and has to reach
    `min_likeness`. A question of the very same words is passed over: what it was answered may no longer be true.
    Answers are cut at 60 words or 600 characters; one answer is shown once.
    """

    def __init__(self, answered: Sequence[Demonstration], *, n: int = 3, min_likeness: float = 0.5):
        self.answered, self.n, self.min_likeness = tuple(answered), n, min_likeness
        words = [_words(each.question) for each in self.answered]
        self._sizes = np.array([len(each) for each in words], np.float32)
        holding: dict[str, list[int]] = {}
        for row, each in enumerate(words):
            for word in each:
                holding.setdefault(word, []).append(row)
        self._rows = {word: np.array(rows, np.int64) for word, rows in holding.items()}

    def like(self, question: str) -> list[Demonstration]:
        """The answered questions most like this one, the likest last; none where they are not like it."""
        words = _words(question)
        held = [self._rows[word] for word in words if word in self._rows]
        if not held:
            return []
        common = np.bincount(np.concatenate(held), minlength=len(self._sizes))
        likeness = common / (len(words) + self._sizes - common)
        chosen: dict[str, int] = {}
        for row in np.argsort(-likeness, kind="stable").tolist():
            if len(chosen) == self.n or not common[row] or likeness[row] < self.min_likeness:
                break
            if likeness[row] < 1:
                chosen.setdefault(_cut(self.answered[row].answer), row)
        return [Demonstration(_cut(self.answered[row].question), answer) for answer, row in reversed(chosen.items())]

    def sha256(self) -> str:
        """A hash of all that decides what is shown."""
        rows = [[each.question, each.answer] for each in self.answered]
        return hashlib.sha256(json.dumps([rows, self.n, self.min_likeness]).encode()).hexdigest()


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _cut(text: str) -> str:
    return " ".join(text.split()[:MAX_ANSWER_WORDS])[:MAX_CHARACTERS]
