"""Passages whose vectors stay as the index holds them, while the question encoder alone is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag.data.labelled import Example
from rag.index.read import OpenIndex
from rag.train.dev_evaluation import DevPool

MOST_PASSAGES = 100_000
"""Of a larger index a sample is taken, with every passage that is labelled or mined: a step compares with all."""


@dataclass(frozen=True, slots=True)
class FrozenPassages:
    """Candidates of every question: their rows in the corpus, ascending (n,) int64, and their vectors (n, d) float32.

    `encoder` is the fingerprint of what embedded them, `corpus_sha256` a hash of the corpus.
    """

    rows: np.ndarray
    vectors: np.ndarray
    encoder: Mapping[str, Any]
    corpus_sha256: str

    def positions(self, rows: Iterable[int]) -> np.ndarray:
        """(m,) int64: where these rows of the corpus stand among the candidates; they must be among them."""
        return np.searchsorted(self.rows, np.fromiter(rows, np.int64))

    def identity(self) -> dict:
        """What a run notes of them."""
        return {"encoder": dict(self.encoder), "corpus_sha256": self.corpus_sha256, "n": len(self.rows)}


def frozen_passages(
    index: OpenIndex, encoder: Mapping[str, Any], needed: Iterable[int], seed: int, most: int = MOST_PASSAGES
) -> FrozenPassages:
    """At most `most` passages of the index with their own vectors, those in the rows `needed` and random others.

    Raises ConfigError for a kind of index that gives no vectors back.
    """
    rows = np.arange(len(index.corpus))
    if len(rows) > most:
        wanted = np.unique(np.fromiter(needed, np.int64))
        others = np.setdiff1d(rows, wanted)
        n_others = max(most - len(wanted), 0)
        rows = np.sort(np.concatenate([wanted, np.random.default_rng(seed).choice(others, n_others, replace=False)]))
    vectors = np.array(index.vectors().vectors(rows.tolist()), np.float32)
    return FrozenPassages(rows, vectors, encoder, index.manifest.corpus_sha256)


def frozen_dev_pool(
    examples: Sequence[Example], passages: FrozenPassages, row_of: Mapping[str, int], chose: Iterable[str] = ()
) -> DevPool:
    """Dev questions whose gold is sought among all candidates; `row_of` are the rows of passages by their ids.

    `chose` are the ids of the questions that chose the model to start from.
    """
    return DevPool(
        [example.question.rewrite for example in examples],
        [frozenset(passages.positions(row_of[pid] for pid in one.positives).tolist()) for one in examples],
        (),
        [*chose, *(example.question.id for example in examples)],
        passages.vectors,
    )
