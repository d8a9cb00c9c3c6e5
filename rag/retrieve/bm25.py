"""Lexical retrieval: BM25 by bm25s, over the words that the corpus's analyzer finds."""

from __future__ import annotations

import copy
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.retrieve.analyzer import Analyzer
from rag.types import Hit, ranked

logging.getLogger("bm25s").setLevel(logging.WARNING)


_FOR_INDEXING = ("numba", "scipy", "scipy.sparse")


def import_for_search() -> None:
    """Import bm25s without the packages that it uses for making an index: they take longer than all the rest of it.

    Only where one question is asked, and before other threads import anything: for them, too, these packages are not
    there meanwhile. An index is made without them as well, only slower.
    """
    if "bm25s" in sys.modules:
        return
    before = {name: sys.modules[name] for name in _FOR_INDEXING if name in sys.modules}
    sys.modules.update(dict.fromkeys(_FOR_INDEXING))  # type: ignore[arg-type]  # None: as if it were not installed
    try:
        importlib.import_module("bm25s")
    finally:
        for name in _FOR_INDEXING:
            del sys.modules[name]
        sys.modules.update(before)


class BM25Retriever:
    """BM25 (Lucene's variant) over passage contents. A passage that shares no word with the query is not a hit.

    `beside` are further texts of each passage, whose words count as its own, such as questions about it.

    Robertson and Zaragoza 2009, https://doi.org/10.1561/1500000019.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        k1: float = 1.5,
        b: float = 0.75,
        analyzer: Analyzer = Analyzer(),
        beside: Sequence[Sequence[str]] = (),
    ):
        import bm25s

        self.corpus = corpus
        self.analyzer = analyzer
        self._weights: np.ndarray | None = None  # (n,) float32, 0 for a passage that must not be found
        self._bm25 = bm25s.BM25(k1=k1, b=b)
        contents = [passage.content for passage in corpus]
        if beside:
            contents = ["\n".join([text, *own]) for text, own in zip(contents, beside, strict=True)]
        words = analyzer.tokenized(contents)
        # What `save` counts; a word alone that no question has is not counted.
        self._words: Sequence[Sequence[int]] | None = words.ids if words.vocab else None
        if not words.vocab:  # bm25s needs one: a word that no question has
            words = type(words)([[0] for _ in corpus], {"": 0})
        self._bm25.index(words, show_progress=False)

    @classmethod
    def load(cls, folder: Path, corpus: Corpus, *, analyzer: Analyzer = Analyzer()) -> BM25Retriever:
        """Open a saved index, memory-mapped, which `analyzer` made; its rows number the passages of `corpus`.

        Raises IndexMismatchError where it is missing or damaged.
        """
        import bm25s

        retriever = cls.__new__(cls)
        retriever.corpus = corpus
        retriever.analyzer = analyzer
        retriever._weights = None
        retriever._words = None
        try:
            retriever._bm25 = bm25s.BM25.load(str(folder), mmap=True)
        except (OSError, ValueError, KeyError) as error:
            raise IndexMismatchError(f"{folder} is missing or damaged") from error
        return retriever

    def save(self, folder: Path) -> None:
        """Write an index made from passages into `folder`, with how often each has each word; without the passages."""
        from rag.retrieve.counts import write_counts

        self._bm25.save(str(folder), show_progress=False)
        if self._words is not None:
            write_counts(folder, self._words, len(self.corpus))

    def restricted_to(self, rows: np.ndarray) -> BM25Retriever:
        """The same index, in which only the passages marked in `rows`, (n,) bool, may be found."""
        retriever = copy.copy(self)
        retriever._weights = rows.astype(np.float32)
        return retriever

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest BM25 score for each query, best first, ties by id."""
        if not queries:
            return []
        rows, scores = self._bm25.retrieve(
            self.analyzer.tokenized(queries),
            k=min(k, len(self.corpus)),
            weight_mask=self._weights,
            show_progress=False,
            n_threads=1,
        )
        # bm25s fills up to k with passages of score 0: they share no word with the query, or were masked.
        return [
            ranked([Hit(self.corpus[row], float(score)) for score, row in zip(own, best, strict=True) if score > 0])
            for own, best in zip(scores, np.asarray(rows).tolist(), strict=True)
        ]
