"""What the span reader is trained on: questions with passages, and where the answer stands in them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag import fixes
from rag.data.answers import find_answers, references
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.errors import ConfigError, DataError
from rag.train.reader_recipes import ReaderRecipe
from rag.types import Span


@dataclass(frozen=True, slots=True)
class ReaderRow:
    """A question with a passage, and where the answer stands in the passage's content; nowhere in a null row."""

    qid: str
    query: str
    pid: str
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class ReaderRows:
    """The rows, and what was left out on the way."""

    rows: tuple[ReaderRow, ...]
    n_null_wanted: int
    n_silent: int
    """Gold passages in which the answer does not stand word for word."""
    n_holding: int
    """Negatives that hold the answer's words."""

    @property
    def n_null(self) -> int:
        """How many of the rows are null rows."""
        return sum(not row.spans for row in self.rows)

    def summary(self) -> str:
        """One line: the rows of both kinds, and what was left out."""
        text = f"{len(self.rows) - self.n_null:,} passages with their answers, {self.n_null:,} null rows"
        if self.n_null < self.n_null_wanted:
            text += f" (there are no more; {self.n_null_wanted:,} were wanted)"
        return (
            f"{text}; left out: {self.n_silent:,} right passages without the answer's words, {self.n_holding:,} "
            "negatives with them"
        )


def make_rows(
    examples: Sequence[Example],
    corpus: Corpus,
    recipe: ReaderRecipe,
    mined: Mapping[str, Sequence[str]] | None,
) -> ReaderRows:
    """A row for each gold passage that holds the answer, and null rows.

    A null row's passage is an evidence labelled 0 or one of the `mined` negatives (ids per question id), and does not
    hold the answer's words. Every question gives its first null row before any gives a second. Raises DataError where
    no gold passage holds its answer, ConfigError where null rows are wanted and there is none.
    """
    rng = random.Random(recipe.seed)
    with_answer: list[ReaderRow] = []
    null: list[list[ReaderRow]] = []
    n_silent = n_holding = 0
    for example in examples:
        gold = [_row(example, corpus, pid) for pid in example.positives]
        with_answer += [row for row in gold if row.spans]
        n_silent += sum(not row.spans for row in gold)
        negatives = [_row(example, corpus, pid) for pid in _negatives(example, mined, rng)]
        n_holding += sum(bool(row.spans) for row in negatives)
        null.append([row for row in negatives if not row.spans])
    if not with_answer:
        raise DataError("no right passage holds its question's answer word for word, so there is no span to learn")
    n_wanted = round(len(with_answer) * recipe.null_share / (1 - recipe.null_share))
    rng.shuffle(null)
    in_turns = [row for turn in itertools.zip_longest(*null) for row in turn if row is not None]
    if n_wanted and not in_turns:
        raise ConfigError(
            f"there are no passages to give null on; mine negatives ({fixes.mine()}) and name them, --negatives FILE, "
            "or set training.reader.null_share = 0"
        )
    return ReaderRows((*with_answer, *in_turns[:n_wanted]), n_wanted, n_silent, n_holding)


def _row(example: Example, corpus: Corpus, pid: str) -> ReaderRow:
    spans = find_answers(corpus.by_id(pid).content, references(example.question))
    return ReaderRow(example.question.id, example.question.rewrite, pid, tuple(spans))


def _negatives(example: Example, mined: Mapping[str, Sequence[str]] | None, rng: random.Random) -> list[str]:
    """Ids in random order; of an unanswerable question, what was judged not to answer it comes first."""
    judged = list(example.negatives)
    rng.shuffle(judged)
    # What has become gold since the mining is no negative.
    hard = [pid for pid in (mined or {}).get(example.question.id, ()) if pid not in example.positives]
    rng.shuffle(hard)
    found = list(dict.fromkeys([*judged, *hard]))
    if example.positives:
        rng.shuffle(found)
    return found
