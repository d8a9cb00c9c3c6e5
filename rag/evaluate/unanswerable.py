"""Whether a text answers a question whose answer is known, and how the question becomes one that nothing answers.

What answers is withheld, or a near-twin is asked in its place.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rag.data.answers import JUDGEMENTS
from rag.data.labelled import plain
from rag.data.near_twins import Shape, near_twins
from rag.evaluate.answers import reference_token_recall
from rag.evaluate.metrics import normalize_answer
from rag.types import Passage

WORDS_OF_A_PHRASE = 4
SHARE_OF_WORDS = 0.6
"""A passage that holds this share of a longer answer's words is taken to answer; of a phrase it has to hold all."""


def holds_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether a text holds the words of an answer: all of a phrase, most of a longer one; never `yes` or `no`."""
    for answer in answers:
        n = len(normalize_answer(answer).split())
        enough = 1.0 if n <= WORDS_OF_A_PHRASE else SHARE_OF_WORDS
        is_judgement = answer.strip(" .!").lower() in JUDGEMENTS
        if n and not is_judgement and reference_token_recall(text, [answer]) >= enough:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Withheld:
    """What a question is not to find, so that nothing answers it.

    `documents` are those of its gold passages, `copies` the texts of these (`plain`), `answers` its right answers.
    """

    documents: frozenset[str]
    copies: frozenset[str]
    answers: tuple[str, ...]

    @classmethod
    def of(cls, gold: Sequence[Passage], answers: Iterable[str]) -> Withheld:
        """What to withhold from a question with these gold passages and answers."""
        return cls(
            frozenset(passage.document for passage in gold),
            frozenset(plain(passage.text) for passage in gold),
            tuple(answers),
        )

    def is_answered_by(self, passage: Passage) -> bool:
        """Whether a passage answers: as a copy of a gold passage, or by its words."""
        return plain(passage.text) in self.copies or holds_answer(passage.content, self.answers)


def unanswered_twin(
    question: str, others: Mapping[Shape, list[str]], rng: random.Random, texts: Sequence[str], answers: Sequence[str]
) -> tuple[str, str] | None:
    """(a near-twin that none of the texts answers, what was put in); None where none was found.

    `others` is what can be put in (`rag.data.near_twins.pieces_by_shape`), `answers` are those of the question.
    """
    for twin, other in near_twins(question, others, rng):
        if not any(answers_twin(text, other, answers) for text in texts):
            return twin, other
    return None


def answers_twin(text: str, other: str, answers: Sequence[str]) -> bool:
    """Whether a text may answer a near-twin: it holds what was put in, and the words of the question's answer."""
    return other.lower() in text.lower() and holds_answer(text, answers)
