"""What a generator is trained on: conversations as the pipeline writes them, and what is to be answered.

    found          an answerable question with the contexts that the pipeline found
    put in         none of them answers: a gold passage was put among them, at a random rank
    not found      none of them answers: refused
    withheld       what answers was taken away, and all that holds the answer's words: refused
    twin           a near-twin of the question, which none of the contexts answers: refused
    unanswerable   labelled so: refused

Refusals come from every source: otherwise the source alone would tell whether to refuse.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.data.answers import references
from rag.data.labelled import Example
from rag.data.near_twins import Shape, pieces_by_shape
from rag.data.passages import Corpus
from rag.errors import DataError
from rag.evaluate.unanswerable import Withheld, holds_answer, unanswered_twin
from rag.generate.excerpts import excerpted
from rag.generate.prompts import Prompt
from rag.pipeline import Pipeline
from rag.train.generator_contexts import Contexts
from rag.train.generator_recipes import GeneratorRecipe
from rag.types import CANNOTANSWER, Generator, Messages, Passage, Response

WORDS_OF_A_SENTENCE = 9


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation that ends with a question, and the answer to learn."""

    qid: str
    kind: str
    messages: Messages
    target: str

    @property
    def refuses(self) -> bool:
        return self.target == CANNOTANSWER

    def made_of(self) -> list:
        """What identifies it."""
        return [self.qid, self.messages, self.target]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows, and how many questions gave no row, by the reason."""

    rows: tuple[Row, ...]
    left_out: Mapping[str, int]

    def summary(self) -> str:
        """One line: how many rows of each kind, and what was left out."""
        kinds = Counter(row.kind for row in self.rows)
        text = f"{len(self.rows):,} rows: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
        missing = ", ".join(f"{n:,} {reason}" for reason, n in self.left_out.items() if n)
        return f"{text} (left out: {missing})" if missing else text


@dataclass(frozen=True, slots=True)
class Forms:
    """The prompt that asks for a short answer, and the one that asks for sentences."""

    short: Prompt
    sentences: Prompt


def is_sentence(answer: str) -> bool:
    """Whether a reference is an answer in sentences: nine words or more, or a full stop at its end."""
    return len(answer.split()) >= WORDS_OF_A_SENTENCE or answer.rstrip().endswith(".")


def make_rows(
    examples: Sequence[Example],
    found: Mapping[str, Contexts],
    maker: RowMaker,
) -> Rows:
    """The rows of every example, in their order. Raises DataError where there is none."""
    others = pieces_by_shape(example.question.rewrite for example in examples)
    sentence_share = _sentence_shares(examples)
    rows: list[Row] = []
    left_out: Counter[str] = Counter()
    for example in examples:
        # Seeded by question, so that its rows are the same in whatever sample it stands.
        rng = random.Random(f"{maker.recipe.seed} {example.question.id}")
        contexts = found[example.question.id]
        if example.positives:
            in_sentences = is_sentence(example.question.answer or "")
            made = maker.answerable(example, contexts, in_sentences, others, rng)
        else:
            in_sentences = rng.random() < sentence_share.get(example.question.source, sentence_share[None])
            made = {"unanswerable": maker.refusal(contexts, "unanswerable", contexts.best(maker.n), in_sentences)}
        rows += [row for row in made.values() if row is not None]
        left_out.update(reason for reason, row in made.items() if row is None)
    if not rows:
        raise DataError("no question gave a row to train on; were contexts found for them?")
    return Rows(tuple(rows), left_out)


def _sentence_shares(examples: Sequence[Example]) -> dict[str | None, float]:
    """The share of references in sentences among the answerable questions of each source; None: of all."""
    forms: dict[str | None, list[bool]] = {None: []}
    for example in examples:
        if example.positives:
            own = is_sentence(example.question.answer or "")
            forms[None].append(own)
            forms.setdefault(example.question.source, []).append(own)
    return {source: sum(own) / max(len(own), 1) for source, own in forms.items()}


class RowMaker:
    """Makes rows of questions with their contexts.

    `pipeline` says how many contexts are shown, in which order and which of their sentences; `generator` counts tokens,
    so that what would not fit its window is left out here too.
    """

    def __init__(self, pipeline: Pipeline, corpus: Corpus, generator: Any, forms: Forms, recipe: GeneratorRecipe):
        self.recipe = recipe
        self.n = pipeline.depths.contexts
        self._corpus = corpus
        self._generator: Generator = generator
        self._pipelines = []
        for prompt in (forms.short, forms.sentences):
            self._pipelines.append(copy.copy(pipeline))
            self._pipelines[-1].prompt = prompt

    def answerable(
        self,
        example: Example,
        contexts: Contexts,
        in_sentences: bool,
        others: Mapping[Shape, list[str]],
        rng: random.Random,
    ) -> dict[str, Row | None]:
        """The rows of an answerable question, by a word for the reason where it is None."""
        # All draws come first: another share of one kind leaves the others as they are.
        is_put_in, is_withheld, is_twin = (
            rng.random() < share
            for share in (self.recipe.put_in_share, self.recipe.withheld_share, self.recipe.twin_share)
        )
        seeds = [rng.random() for _ in range(2)]
        made = {
            "without the answer in what is shown": self._answer(example, contexts, in_sentences, is_put_in, seeds[0])
        }
        if is_withheld:
            made["withheld (too few others were found)"] = self._withheld(example, contexts, in_sentences)
        if is_twin:
            made["twin (nothing to exchange)"] = self._twin(example, contexts, in_sentences, others, seeds[1])
        return made

    def refusal(
        self, contexts: Contexts, kind: str, ids: Sequence[str], in_sentences: bool, text: str | None = None
    ) -> Row | None:
        """A row that refuses; None where nothing is shown, because then no generator is asked."""
        messages, _ = self._compose(contexts, ids, in_sentences, text)
        return None if messages is None else Row(contexts.qid, kind, messages, CANNOTANSWER)

    def _answer(
        self, example: Example, contexts: Contexts, in_sentences: bool, is_put_in: bool, seed: float
    ) -> Row | None:
        """The row that answers, or refuses where nothing answers; None where what is shown leaves the answer out."""
        ids, kind = contexts.best(self.n), "found"
        answers = references(example.question)
        is_there = any(
            pid in example.positives or holds_answer(self._corpus.by_id(pid).content, answers) for pid in ids
        )
        if not is_there and not is_put_in:
            return self.refusal(contexts, "not found", ids, in_sentences)
        if not is_there:
            rng = random.Random(seed)
            ids, kind = ids[: self.n - 1], "put in"
            ids.insert(rng.randint(0, len(ids)), rng.choice(example.positives))
        messages, response = self._compose(contexts, ids, in_sentences)
        if messages is None:
            return None
        place = self._place_of_answer(example, response, answers)
        if place is None:
            return None
        target = (example.question.answer or "").strip()
        return Row(contexts.qid, kind, messages, f"{target} [{place}]" if self.recipe.cite else target)

    def _place_of_answer(self, example: Example, response: Response, answers: Sequence[str]) -> int | None:
        """The number in the prompt of the passage that answers; None where none that is shown does.

        Gold passages come first. One whose words are not the answer's may answer in other words.
        """
        shown = _shown(response)
        gold = [n for n, passage in enumerate(shown, 1) if passage.id in example.positives]
        holding = [n for n, passage in enumerate(shown, 1) if holds_answer(passage.content, answers)]
        if both := [n for n in gold if n in holding]:
            return both[0]
        if holding:
            return holding[0]
        says_it = any(holds_answer(self._corpus.by_id(pid).content, answers) for pid in example.positives)
        return None if says_it or not gold else gold[0]

    def _withheld(self, example: Example, contexts: Contexts, in_sentences: bool) -> Row | None:
        """A refusal with as many contexts as others show: with fewer, their number would tell whom to refuse."""
        held = Withheld.of([self._corpus.by_id(pid) for pid in example.positives], references(example.question))
        candidates = [self._corpus.by_id(pid) for pid, _ in contexts.candidates]
        left = [passage for passage in candidates if not held.is_answered_by(passage)]
        if self.recipe.withhold == "document":
            # Python's sort is stable: passages of the document come last, and only where others are too few.
            left.sort(key=lambda passage: passage.document in held.documents)
        shown = {passage.id for passage in left[: self.n]}
        if len(shown) < self.n:
            return None
        return self.refusal(contexts, "withheld", [pid for pid, _ in contexts.candidates if pid in shown], in_sentences)

    def _twin(
        self, example: Example, contexts: Contexts, in_sentences: bool, others: Mapping[Shape, list[str]], seed: float
    ) -> Row | None:
        ids = contexts.best(self.n)
        texts = [self._corpus.by_id(pid).content for pid in ids]
        answers = references(example.question)
        twin = unanswered_twin(example.question.rewrite, others, random.Random(seed), texts, answers)
        return None if twin is None else self.refusal(contexts, "twin", ids, in_sentences, twin[0])

    def _compose(
        self, contexts: Contexts, ids: Sequence[str], in_sentences: bool, text: str | None = None
    ) -> tuple[Messages | None, Response]:
        pipeline = self._pipelines[in_sentences and self.recipe.tell_form]
        response = contexts.response(pipeline, self._corpus, ids, text)
        return pipeline.compose(response, self._generator)


def _shown(response: Response) -> list[Passage]:
    """The passages as the prompt shows them, in its order."""
    return excerpted(response.contexts, response.excerpts)
