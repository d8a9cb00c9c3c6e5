"""Lexical retrieval: BM25 by bm25s, with English stemming and stop words."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.types import Hit, ranked

logging.getLogger("bm25s").setLevel(logging.WARNING)


class BM25Retriever:
    """BM25 (Lucene's variant, k1 1.5, b 0.75) over passage contents. Passages that share no word are no hits."""

    def __init__(self, corpus: Corpus, *, k1: float = 1.5, b: float = 0.75, language: str = "english"):
        import bm25s

        self.corpus, self.language, self._weights = corpus, language, None
        self._bm25 = bm25s.BM25(k1=k1, b=b)
        self._bm25.index(self._tokens([passage.content for passage in corpus]), show_progress=False)

    @classmethod
    def load(cls, folder: Path, corpus: Corpus, *, language: str = "english") -> BM25Retriever:
        """Open a saved index; its rows number the passages of `corpus`."""
        import bm25s

        retriever = cls.__new__(cls)
        retriever.corpus, retriever.language, retriever._weights = corpus, language, None
        try:
            retriever._bm25 = bm25s.BM25.load(str(folder), mmap=True)
        except (OSError, ValueError, KeyError) as error:
            raise IndexMismatchError(
                f"{folder} is missing or damaged; build the index again: rag index --rebuild -o {folder.parent.parent}"
            ) from error
        return retriever

    def save(self, folder: Path) -> None:
        self._bm25.save(str(folder), show_progress=False)

    def restricted_to(self, rows: np.ndarray) -> BM25Retriever:
        """The same index, in which only `rows`, (n,) bool, may be found."""
        retriever = copy.copy(self)
        retriever._weights = rows.astype(np.float32)
        return retriever

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest BM25 score for each query, best first, ties by id."""
        if not queries:
            return []
        rows, scores = self._bm25.retrieve(
            self._tokens(list(queries)),
            k=min(k, len(self.corpus)),
            weight_mask=self._weights,
            show_progress=False,
            n_threads=1,
        )
        return [
            ranked([Hit(self.corpus[r], float(s)) for s, r in zip(ss, rr, strict=True) if s > 0])
            for ss, rr in zip(scores, np.asarray(rows).tolist(), strict=True)
        ]

    def _tokens(self, texts: list[str]):
        import bm25s
        import Stemmer

        return bm25s.tokenize(texts, stopwords="en", stemmer=Stemmer.Stemmer(self.language), show_progress=False)
