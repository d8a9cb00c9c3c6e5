"""Train, dev and test kept apart."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.data.labelled import LABELLED, WRITTEN, Example
from rag.data.source import Source, source_of
from rag.errors import DataError
from rag.types import document_of


@dataclass(frozen=True, slots=True)
class Overlap:
    """Gold passages, and documents of gold passages, that two splits have in common."""

    splits: tuple[str, str]
    n_passages: int
    n_documents: int
    example: str

    def __str__(self) -> str:
        first, second = self.splits
        return (
            f"{first} and {second} have gold passages in common: {self.n_passages:,}, documents: {self.n_documents:,}, "
            f"such as {self.example}"
        )


def overlaps(gold: Mapping[str, set[str]]) -> list[Overlap]:
    """Every pair of splits whose gold passages, or their documents, overlap."""
    names = list(gold)
    found: list[Overlap] = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            passages = gold[first] & gold[second]
            documents = {document_of(pid) for pid in gold[first]} & {document_of(pid) for pid in gold[second]}
            if documents:
                example = min(passages) if passages else min(documents)
                found.append(Overlap((first, second), len(passages), len(documents), example))
    return found


def refuse_test_file(*paths: str | Path | None) -> None:
    """Raises DataError for a file named as the test set: models are trained on train and chosen on dev."""
    for path in paths:
        if path is not None and {"test", "testset"} & _words_of(source_of(path)):
            raise DataError(
                f"{path} is named as the test set; train on others, choose on dev, and read test once, at the end"
            )


def _words_of(source: Source) -> set[str]:
    """The words of a file's or a split's name."""
    names = [*source.parts] if source.kind == "hub" else [source.path.stem, *source.parts]
    return {word for name in names for word in re.split(r"[^a-z]+", name.lower())}


def refuse_written(held_out: Iterable[Example]) -> None:
    """Raises DataError where a model wrote or labelled some of the questions: a verdict is on people's judgements."""
    held_out = list(held_out)
    if n := sum(example.question.id.startswith(WRITTEN) for example in held_out):
        raise DataError(
            f"{n:,} of the dev questions were written by a model, and what it asks says little about what people ask; "
            "name a file of people's questions with --dev (two hundred do); --no-gate trains without a verdict"
        )
    if n := sum(example.question.id.startswith(LABELLED) for example in held_out):
        raise DataError(
            f"{n:,} of the dev questions were labelled by the reranker, which would judge what it taught; name a file "
            "of questions that people labelled with --dev (two hundred do); --no-gate trains without a verdict"
        )


def split_by_document(
    examples: Sequence[Example], share: float = 0.1, seed: int = 0
) -> tuple[list[Example], list[Example]]:
    """(train, dev): about `share` of the examples held out, no document on both sides.

    Questions whose gold passages lie in common documents stay together. Raises DataError where that leaves a side
    empty.
    """
    # Documents that a question connects form a group (union-find): `leader` leads from a document to that of its group.
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for example in examples:
        first, *others = {document_of(pid): None for pid in example.positives}
        for other in others:
            leader[find(other)] = find(first)
    groups: dict[str, list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        groups[find(document_of(example.positives[0]))].append(row)
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    wanted = round(share * len(examples))
    held_out: set[int] = set()
    for name in order:
        # A document that would overshoot by more than it brings is left in train.
        if len(held_out) + len(groups[name]) / 2 <= wanted:
            held_out.update(groups[name])
    dev = [examples[row] for row in sorted(held_out)]
    if not dev or len(dev) == len(examples):
        raise DataError("no dev set can be split off by document: name a file of dev questions with --dev")
    return [example for row, example in enumerate(examples) if row not in held_out], dev
