"""BM25 over several segments of a corpus that changes: words are counted once, and weighed when a question is asked.

What a word weighs depends on all passages: each change of one changes the scores of all. bm25s keeps finished scores.
Beside them stands how often each passage has each word, and how many words it has. From these come the same scores, to
the last bit, as from an index made anew of the passages that are there now.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.retrieve.analyzer import Analyzer
from rag.retrieve.bm25 import BM25Retriever
from rag.types import Hit, ranked

COUNTS = "counts.npy"
LENGTHS = "lengths.npy"


def write_counts(folder: Path, words: Sequence[Sequence[int]], n_passages: int) -> None:
    """Write how often each of `n_passages` has each word, in the order of bm25s's scores, and how many words it has."""
    lengths = np.fromiter(map(len, words), np.int32, n_passages)
    of_word = np.concatenate([np.asarray(own, np.int64) for own in words]) if n_passages else np.zeros(0, np.int64)
    pairs, counts = np.unique(of_word * n_passages + np.repeat(np.arange(n_passages), lengths), return_counts=True)
    indices = np.load(folder / "indices.csc.index.npy", mmap_mode="r")
    if not np.array_equal(pairs % max(n_passages, 1), indices):  # else each count would stand at another passage
        raise AssertionError(f"bm25s orders the words of {folder} in another way")
    small = counts.max(initial=0) < 2**16
    np.save(folder / COUNTS, counts.astype(np.uint16 if small else np.uint32))
    np.save(folder / LENGTHS, lengths)


class CountedSegment:
    """A saved BM25 index by its counts. `rows`, (m,) int64, are the rows of its m passages; -1 for one that is gone.

    Raises IndexMismatchError where it is missing or damaged.
    """

    def __init__(self, folder: Path, rows: np.ndarray):
        try:
            self._numbers: dict[str, int] = json.loads((folder / "vocab.index.json").read_text("utf-8"))
            self.rows = rows
            if self._numbers.keys() <= {""}:  # no passage has a word, and nothing was counted
                nothing = np.zeros(0, np.int64)
                self._starts, self._passages, self._counts = np.zeros(1, np.int64), nothing, nothing
                self.lengths = np.zeros(len(rows), np.int32)
                return
            names = ("indptr.csc.index.npy", "indices.csc.index.npy", COUNTS, LENGTHS)
            arrays = [np.load(folder / name, mmap_mode="r", allow_pickle=False).view(np.ndarray) for name in names]
        except (OSError, ValueError) as error:
            raise IndexMismatchError(f"{folder} is missing or damaged") from error
        self._starts, self._passages, self._counts, self.lengths = arrays

    def found(self, word: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows of the passages that have a word, how often each has it, and how many words each has."""
        number = self._numbers.get(word, len(self._starts))
        start, end = (self._starts[number], self._starts[number + 1]) if number + 1 < len(self._starts) else (0, 0)
        passages = self._passages[start:end]
        rows = self.rows[passages]
        is_there = rows >= 0
        return rows[is_there], self._counts[start:end][is_there], self.lengths[passages[is_there]]


class CountedBM25(BM25Retriever):
    """BM25 over the segments of a corpus, each of which was saved by itself."""

    def __init__(
        self,
        segments: Sequence[CountedSegment],
        corpus: Corpus,
        *,
        k1: float = 1.5,
        b: float = 0.75,
        analyzer: Analyzer = Analyzer(),
    ):
        self.corpus = corpus
        self.analyzer = analyzer
        self._segments, self._k1, self._b = list(segments), k1, b
        n_words = sum(int(each.lengths[each.rows >= 0].sum(dtype=np.int64)) for each in segments)
        self._mean_length = np.float64(n_words) / np.float64(max(len(corpus), 1))
        self._weights = None
        self._words = None

    def save(self, folder: Path) -> None:
        """Not for a corpus in segments: what is there is on the disk."""
        raise NotImplementedError

    def restricted_to(self, rows: np.ndarray) -> CountedBM25:
        """The same index, in which only the passages marked in `rows`, (n,) bool, may be found."""
        retriever = copy.copy(self)
        retriever._weights = rows.astype(np.float32)
        return retriever

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest BM25 score for each query, best first, ties by id."""
        return [self._best(self.scores(self.analyzer.words(query)), min(k, len(self.corpus))) for query in queries]

    def scores(self, words: Sequence[str]) -> np.ndarray:
        """(n,) float32: the score of each passage, as bm25s adds it up."""
        scores = np.zeros(len(self.corpus), np.float32)
        for word in words:
            for rows, weights in self._weighed(word):
                scores[rows] += weights
        return scores if self._weights is None else scores * self._weights

    def _weighed(self, word: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows of the passages that have a word, and what it adds to the score of each."""
        found = [segment.found(word) for segment in self._segments]
        n_with = sum(len(rows) for rows, _, _ in found)
        if not n_with:
            return
        # In the order and the precision in which bm25s computes (its scoring.py): Lucene's variant.
        rarity = np.float32(math.log(1 + (len(self.corpus) - n_with + 0.5) / (n_with + 0.5)))
        for rows, counts, lengths in found:
            often = counts.astype(np.float32)
            long = self._k1 * ((1 - self._b) + self._b * lengths.astype(np.float64) / self._mean_length)
            yield rows, (rarity * (often / (long + often))).astype(np.float32)

    def _best(self, scores: np.ndarray, k: int) -> list[Hit]:
        from bm25s.selection import topk

        best, rows = topk(scores, k)
        # A passage of score 0 shares no word with the query, or must not be found.
        pairs = zip(best.tolist(), rows.tolist(), strict=True)
        return ranked([Hit(self.corpus[row], score) for score, row in pairs if score > 0])
