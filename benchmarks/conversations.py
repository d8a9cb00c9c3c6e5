"""Conversations made by rule from judged questions, to measure what becomes of a follow-up question.

Consecutive questions about one document become the turns. The first is asked so that it stands alone (its rewrite), the
last so that it leans on the turns before it:

- `typed`: the data has a question as typed beside its rewrite, and they differ (as in fairytaleqa and policyqa of
  OpenQA). The question as typed is the follow-up.
- `pronoun`: the question itself stands alone. A name in it, or the document's title, which also stands in the question
  before or its answer, is replaced by a pronoun. The untouched question is the human rewrite.

Two more kinds are controls. Their last question stands alone, so nothing may be lost on it: `same document` follows a
question about the same document, `other document` one about a document of another source.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.data.labelled import Example
from rag.types import document_of

FOLLOW_UPS = ("typed", "pronoun")
CONTROLS = ("same document", "other document")
NAME = re.compile(r"[A-Z][\w'’-]*(?:\s+(?:of\s+(?:the\s+)?)?[A-Z][\w'’-]*)*")
ASKS = re.compile(r"\A\W*(?:who|whom|whose|what|which|when|where|why|how|in|on|at|by|for|from|to|with)\b", re.I)
SHORTEST_NAME = 3  # characters
OWN = {"it": "its", "he": "his", "they": "their"}


@dataclass(frozen=True, slots=True)
class Earlier:
    """A turn before the follow-up: what was typed, what it means by itself, its reference, and its gold passages."""

    question: str
    rewrite: str
    answer: str
    gold: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns, oldest first, and the question that follows them, with its human rewrite and its gold passages."""

    kind: str
    before: tuple[Earlier, ...]
    question: str
    rewrite: str
    gold: tuple[str, ...]
    source: str

    @property
    def is_follow_up(self) -> bool:
        """Whether the question leans on the turns before it; else it is a control."""
        return self.kind in FOLLOW_UPS


def make_conversations(
    examples: Sequence[Example], titles: Mapping[str, str], *, per_source: int = 40, seed: int = 0
) -> list[Conversation]:
    """At most `per_source` conversations of each kind and source, drawn at random, in the order of the questions.

    `titles` are of the documents. Every second follow-up has three turns where three questions are there.
    """
    made = [*_about_one_document(examples, titles), *_about_another(examples, random.Random(seed))]
    groups: dict[tuple[str, str], list[int]] = {}
    for place, conversation in enumerate(made):
        groups.setdefault((conversation.kind, conversation.source), []).append(place)
    rng = random.Random(seed)
    drawn = [place for places in groups.values() for place in rng.sample(places, min(per_source, len(places)))]
    return [made[place] for place in sorted(drawn)]


def _about_one_document(examples: Sequence[Example], titles: Mapping[str, str]) -> list[Conversation]:
    """Follow-ups of both kinds, and the controls `same document`."""
    made: list[Conversation] = []
    documents: dict[str, list[Example]] = {}
    for example in examples:
        documents.setdefault(document_of(example.positives[0]), []).append(example)
    for document, own in documents.items():
        for n in range(1, len(own)):
            has_three = n % 2 == 0
            before = (*((_standalone(own[n - 2]),) if has_three else ()), _standalone(own[n - 1]))
            asked, title = own[n].question, titles.get(document, "")
            made.append(_conversation("same document", before, asked.rewrite, own[n]))
            if asked.text != asked.rewrite:
                typed = tuple(_as_typed(own[n - 1]) if turn is before[-1] and has_three else turn for turn in before)
                made.append(_conversation("typed", typed, asked.text, own[n]))
            elif (leaning := with_pronoun(asked.rewrite, before[-1], title)) is not None:
                made.append(_conversation("pronoun", before, leaning, own[n]))
    return made


def _about_another(examples: Sequence[Example], rng: random.Random) -> list[Conversation]:
    """The controls `other document`: each question after one of another source."""
    made = []
    for example in examples:
        others = [other for other in rng.sample(examples, min(20, len(examples))) if _source(other) != _source(example)]
        if others:
            made.append(_conversation("other document", (_standalone(others[0]),), example.question.rewrite, example))
    return made


def with_pronoun(question: str, before: Earlier, title: str = "") -> str | None:
    """The question with the longest name that the turn before it also has replaced by a pronoun; None without one.

    A name is a run of capitalised words, or the document's title in any case. `they` where a plural verb stands before
    the name, `he` where the turn before asked who and was answered by the name, else `it`.
    """
    known = _plain(f"{before.rewrite} {before.answer}")
    opening = ASKS.match(question)
    names = [found[0] for found in NAME.finditer(question, opening.end() if opening else 0)]
    names = [re.sub(r"['’]s\Z", "", name) for name in [*names, re.split(r" - | \(", title)[0]]]
    names = [name for name in names if len(name) >= SHORTEST_NAME and _plain(name) in known]
    for name in sorted(names, key=len, reverse=True):
        # Not as a part of a longer name: "the Graz Museum" does not become "it Museum".
        pattern = rf"(?i:(?:\b(?:the|a|an)\s+)?(?<!\w){re.escape(name)})(?P<own>['’]s)?(?!\w|\s+[A-Z])"
        found = re.search(pattern, question)
        if found is None or re.search(r"[A-Z]\w*\s\Z", question[len(opening[0]) if opening else 0 : found.start()]):
            continue
        pronoun = _pronoun(name, question[: found.start()], before)
        leaning = question[: found.start()] + (OWN[pronoun] if found["own"] else pronoun) + question[found.end() :]
        return leaning[:1].upper() + leaning[1:] if question[:1].isupper() else leaning
    return None


def _pronoun(name: str, words_before: str, before: Earlier) -> str:
    if re.search(r"\b(?:are|were|do|have)\s+\Z", words_before, re.I):
        return "they"
    asked_who = re.match(r"\W*who\b", before.rewrite, re.I)
    return "he" if asked_who and _plain(name) in _plain(before.answer) else "it"


def _plain(text: str) -> str:
    """Words in lower case between single spaces, with one at both ends."""
    return " " + " ".join(re.findall(r"[^\W_]+", text.lower())) + " "


def _standalone(example: Example) -> Earlier:
    asked = example.question
    return Earlier(asked.rewrite, asked.rewrite, asked.answer or "", example.positives)


def _as_typed(example: Example) -> Earlier:
    asked = example.question
    return Earlier(asked.text, asked.rewrite, asked.answer or "", example.positives)


def _conversation(kind: str, before: tuple[Earlier, ...], question: str, example: Example) -> Conversation:
    asked = example.question
    return Conversation(kind, before, question, asked.rewrite, example.positives, _source(example))


def _source(example: Example) -> str:
    return example.question.source
