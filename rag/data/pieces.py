"""Passages put together from pieces: rows of a stored corpus that stay as they are, and passages that are new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rag.data.passages import Corpus
from rag.data.stored import DOCUMENT, ChangedCorpus, StoredCorpus, hash64
from rag.types import Passage


class StoredRows(Sequence[Passage]):
    """Some passages of a stored corpus, by their rows, (n,) int64; each is read when it is asked for."""

    def __init__(self, corpus: StoredCorpus, rows: np.ndarray):
        self.corpus, self.rows = corpus, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number):
        found = self.rows[number]
        return [self.corpus[row] for row in found.tolist()] if isinstance(number, slice) else self.corpus[int(found)]


class Pieces(Sequence[Passage]):
    """Passages in the order in which they were taken."""

    def __init__(self) -> None:
        self._pieces: list[Sequence[Passage]] = []
        self._n = 0

    def take(self, piece: Sequence[Passage]) -> None:
        """Add passages behind the others."""
        self._pieces.append(piece)
        self._n += len(piece)

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Passage]:
        return (passage for piece in self._pieces for passage in piece)

    def __getitem__(self, number):
        return list(self)[number]

    def corpus(self) -> Corpus:
        """All of them as a corpus, in which what is stored stays on the disk."""
        stored = [piece for piece in self._pieces if isinstance(piece, StoredRows)]
        if not stored or any(piece.corpus is not stored[0].corpus for piece in stored):
            return Corpus(self)
        origin: list[np.ndarray] = []
        fresh: list[Passage] = []
        for piece in self._pieces:
            if isinstance(piece, StoredRows):
                origin.append(piece.rows)
            else:
                origin.append(np.full(len(piece), -1, np.int64))
                fresh += piece
        return ChangedCorpus(stored[0].corpus, np.concatenate(origin), fresh)


def by_document(corpus: Corpus, names: Sequence[str]) -> dict[str, Sequence[Passage]]:
    """The passages of documents by their names, in order."""
    found: dict[str, Sequence[Passage]] = {}
    if not isinstance(corpus, StoredCorpus):
        wanted = frozenset(names)
        lists: dict[str, list[Passage]] = {name: [] for name in names}
        for passage in corpus:
            if passage.document in wanted:
                lists[passage.document].append(passage)
        found.update(lists)
        return found
    documents = corpus.table[DOCUMENT]
    order = np.argsort(documents, kind="stable")
    hashes = np.array([hash64(name) for name in names], np.uint64)
    first = np.searchsorted(documents, hashes, "left", sorter=order)
    last = np.searchsorted(documents, hashes, "right", sorter=order)
    for name, start, end in zip(names, first.tolist(), last.tolist(), strict=True):
        rows = StoredRows(corpus, order[start:end])
        is_own = not rows or rows[0].document == name  # two names may have one hash
        found[name] = rows if is_own else corpus.of_document(name)
    return found
