"""Rows of the span reader as tokens: which of them begin and end an answer, and what a long passage is cut to."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.data.passages import Corpus
from rag.errors import DataError
from rag.progress import say
from rag.train.reader_recipes import ReaderRecipe
from rag.train.reader_rows import ReaderRow
from rag.types import Span

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

CHUNK_ROWS = 1024
NULL = 0
"""The token that stands for "no answer here": the first one, [CLS]."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A pair as token ids and types, (t,) each, and the numbers of the tokens that begin and end an answer.

    `starts` and `ends` are [NULL] where there is none.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    starts: list[int]
    ends: list[int]


def training_dataset(
    rows: Sequence[ReaderRow], corpus: Corpus, tokenizer: Any, recipe: ReaderRecipe, longest: int
) -> Dataset:
    """The rows encoded in at most `longest` tokens; those of which no answer fits into as many are left out.

    Raises DataError where nothing is left.
    """
    from datasets import Dataset

    columns: dict[str, list] = {"query": [], "input_ids": [], "token_type_ids": [], "starts": [], "ends": []}
    for begin in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[begin : begin + CHUNK_ROWS]
        for row, encoded in zip(chunk, encode_rows(chunk, corpus, tokenizer, recipe.seed, longest), strict=True):
            if encoded is not None:
                columns["query"].append(row.query)
                for name in ("input_ids", "token_type_ids", "starts", "ends"):
                    columns[name].append(getattr(encoded, name))
    if left_out := len(rows) - len(columns["query"]):
        say(f"{left_out:,} rows are left out: their answers are longer than training.reader.max_length_tokens")
    if not columns["query"]:
        raise DataError("no answer fits into training.reader.max_length_tokens; raise it")
    return Dataset.from_dict(columns)


def encode_rows(
    rows: Sequence[ReaderRow], corpus: Corpus, tokenizer: Any, seed: int, longest: int
) -> list[EncodedRow | None]:
    """Each row as at most `longest` tokens; None where no answer fits into as many. `seed` places the windows."""
    encoded = tokenizer(
        [row.query for row in rows],
        [corpus.by_id(row.pid).content for row in rows],
        truncation=False,
        return_offsets_mapping=True,
        return_token_type_ids=True,
        verbose=False,
    )
    return [
        _cut(
            encoded["input_ids"][n],
            encoded["token_type_ids"][n],
            encoded.sequence_ids(n),
            token_spans(encoded["offset_mapping"][n], encoded.sequence_ids(n), row.spans),
            longest,
            random.Random(f"{seed} {row.qid} {row.pid}"),
        )
        for n, row in enumerate(rows)
    ]


def token_spans(offsets: Sequence[Span], sides: Sequence[int | None], spans: Sequence[Span]) -> list[Span]:
    """The first and the last token of each span of characters of the passage.

    `offsets` (t,) are each token's characters, `sides` (t,) is 1 for tokens of the passage. A token that a span shares
    with other words belongs to it; a span of characters that no token holds has none.
    """
    found = []
    for begin, end in spans:
        inside = [n for n, (a, b) in enumerate(offsets) if sides[n] == 1 and a < end and b > begin]
        if inside:
            found.append((inside[0], inside[-1]))
    return found


def _cut(
    ids: Sequence[int],
    type_ids: Sequence[int],
    sides: Sequence[int | None],
    answers: Sequence[Span],
    longest: int,
    rng: random.Random,
) -> EncodedRow | None:
    """The row of at most `longest` tokens. Of a question that is longer than half of them the first half is kept."""
    passage = [n for n, side in enumerate(sides) if side == 1]
    question = [n for n, side in enumerate(sides) if side == 0]
    dropped = set(question[longest // 2 :])
    others = [n for n, side in enumerate(sides) if side != 1 and n not in dropped]
    cut = window(passage, answers, longest - len(others), rng)
    if cut is None:
        return None
    kept = sorted([*others, *cut])
    place = {n: new for new, n in enumerate(kept)}
    whole = [(place[first], place[last]) for first, last in answers if first in place and last in place]
    return EncodedRow(
        [ids[n] for n in kept],
        [type_ids[n] for n in kept],
        sorted({first for first, _ in whole}) or [NULL],
        sorted({last for _, last in whole}) or [NULL],
    )


def window(passage: Sequence[int], answers: Sequence[Span], room: int, rng: random.Random) -> Sequence[int] | None:
    """The tokens of a passage that are kept: `room` of them, at a random place.

    `passage` are consecutive token numbers. Where there are answers, one of them stands in the window whole; None where
    every one is longer than that.
    """
    if len(passage) <= room:
        return passage
    first, latest = passage[0], passage[-1] + 1 - room
    if not answers:
        begin = rng.randint(first, latest)
    else:
        fitting = [(a, b) for a, b in answers if b - a < room]
        if not fitting:
            return None
        a, b = rng.choice(fitting)
        begin = rng.randint(max(first, b + 1 - room), min(a, latest))
    return range(begin, begin + room)


class SpanCollator:
    """Called with rows of `training_dataset`: the tensors of a batch, padded to its longest row.

    `input_ids`, `token_type_ids` and `attention_mask` are (n, t) int64; `starts` and `ends` (n, t) bool, true at the
    tokens that begin and end an answer.
    """

    def __init__(self, pad_token_id: int):
        self._pad = pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        import torch

        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        batch = {
            "input_ids": torch.full(shape, self._pad),
            "token_type_ids": torch.zeros(shape, dtype=torch.long),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "starts": torch.zeros(shape, dtype=torch.bool),
            "ends": torch.zeros(shape, dtype=torch.bool),
        }
        for n, row in enumerate(rows):
            length = len(row["input_ids"])
            batch["input_ids"][n, :length] = torch.tensor(row["input_ids"])
            batch["token_type_ids"][n, :length] = torch.tensor(row["token_type_ids"])
            batch["attention_mask"][n, :length] = 1
            batch["starts"][n, row["starts"]] = True
            batch["ends"][n, row["ends"]] = True
        return batch
