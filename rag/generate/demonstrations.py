"""In-context examples: answered questions that resemble the one asked show the generator the form of an answer.

Liu et al. 2022, “What Makes Good In-Context Examples for GPT-3?” (https://aclanthology.org/2022.deelio-1.10) choose the
nearest by embeddings. Here they are chosen by words, and only if they are near: from an example about something else a
small model copies not only the form but also the answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag.scripts import spaced_out

MAX_ANSWER_WORDS = 60
MAX_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A question and a good answer to it."""

    question: str
    answer: str


class Demonstrations:
    """Answered questions to choose from: at most `n` for a question, the ones most like it.

    Likeness is the Jaccard index of the questions' words (words in common over words in either) and must reach
    `min_likeness`. A question of exactly the same words is skipped: its old answer may no longer be true. Answers and
    questions are cut at 60 words or 600 characters; the same answer is shown only once.
    """

    def __init__(self, answered: Sequence[Demonstration], *, n: int = 3, min_likeness: float = 0.5):
        self.answered = tuple(answered)
        self.n = n
        self.min_likeness = min_likeness
        words = [_words(each.question) for each in self.answered]
        self._sizes = np.array([len(each) for each in words], np.float32)
        # An inverted index: word -> the rows of the questions that hold it.
        holding: dict[str, list[int]] = {}
        for row, each in enumerate(words):
            for word in each:
                holding.setdefault(word, []).append(row)
        self._rows = {word: np.array(rows, np.int64) for word, rows in holding.items()}

    def like(self, question: str) -> list[Demonstration]:
        """The answered questions most like this one, the most similar last; [] where none is similar enough."""
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
            # Equal words give likeness 1.
            if likeness[row] < 1:
                chosen.setdefault(_cut(self.answered[row].answer), row)
        return [Demonstration(_cut(self.answered[row].question), answer) for answer, row in reversed(chosen.items())]

    def sha256(self) -> str:
        """A hash of all that decides what is shown."""
        rows = [[each.question, each.answer] for each in self.answered]
        return hashlib.sha256(json.dumps([rows, self.n, self.min_likeness]).encode()).hexdigest()


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", spaced_out(text.lower())))


def _cut(text: str) -> str:
    return " ".join(text.split()[:MAX_ANSWER_WORDS])[:MAX_CHARACTERS]
