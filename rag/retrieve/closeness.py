"""How near passages are to questions: cosines by the vectors that an index holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.data.passages import Corpus
from rag.retrieve.encoder import Encoder
from rag.retrieve.segmented import SegmentedIndex
from rag.retrieve.vectors import FaissIndex
from rag.types import Hit


class Closeness:
    """Cosines of questions with passages, whatever found these.

    `index`, `corpus` and `windows` are as for `DenseRetriever`: a passage is as near as the nearest of its vectors.
    Passages that the corpus does not hold, such as those of attached files, are embedded.
    """

    def __init__(self, encoder: Encoder, index: FaissIndex | SegmentedIndex, corpus: Corpus, windows: np.ndarray):
        self.encoder, self.index, self.corpus = encoder, index, corpus
        self._order = np.argsort(windows, kind="stable")  # rows of one passage's windows stand together
        self._owners = windows[self._order]

    def cosines(self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]]) -> list[list[float]]:
        """The cosine of each query with each of its candidates, in their order."""
        passages = {hit.passage.id: hit.passage for hits in candidates for hit in hits}
        if not passages:
            return [[] for _ in candidates]
        rows = {pid: self._rows(row) for pid in passages if (row := self.corpus.row_of(pid)) is not None}
        vectors = self._read(rows)
        others = [passage for pid, passage in passages.items() if pid not in rows]
        embedded, _ = self.encoder.encode_passages([passage.content for passage in others])
        vectors |= {passage.id: vector[None] for passage, vector in zip(others, embedded, strict=True)}
        asked = [row for row, hits in enumerate(candidates) if hits]
        questions = dict(zip(asked, self.encoder.encode_queries([queries[row] for row in asked]), strict=True))
        return [
            [float((vectors[hit.passage.id] @ questions[row]).max()) for hit in hits]
            for row, hits in enumerate(candidates)
        ]

    def _rows(self, row: int) -> list[int]:
        """The rows of the index that stand for the passage in a row of the corpus."""
        start, end = np.searchsorted(self._owners, [row, row + 1])
        return [row, *(len(self.corpus) + self._order[start:end]).tolist()]

    def _read(self, rows: dict[str, list[int]]) -> dict[str, np.ndarray]:
        """The vectors of passages by their ids, (m, d) each; all are read in one call."""
        if not rows:
            return {}
        found = self.index.vectors([row for own in rows.values() for row in own])
        ends = np.cumsum([len(own) for own in rows.values()])[:-1]
        return dict(zip(rows, np.split(found, ends), strict=True))
