"""Passages put together from pieces: those of a corpus before that stay as they are, and passages that are new."""

from __future__ import annotations

import bisect
import functools
import itertools
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


class Unread(Sequence[Passage]):
    """The passages of a document, `n` of the `source`; they are read from the corpus where one is asked for."""

    def __init__(self, corpus: Corpus, name: str, n: int, source: str):
        self.corpus, self.name, self.n, self.source = corpus, name, n, source

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, number):
        return self.corpus.of_document(self.name)[number]

    def __iter__(self) -> Iterator[Passage]:
        return iter(self.corpus.of_document(self.name))


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
        """All of them as a corpus, in which what is stored stays where it is."""
        if any(isinstance(piece, Unread) for piece in self._pieces):
            return PartlyRead(self._pieces)
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


class PartlyRead(Corpus):
    """Passages of which whole documents stay as they are in a corpus `before`, and are read if need be.

    `kept` are the names of these documents, `fresh` the other passages.
    """

    def __init__(self, pieces: Sequence[Sequence[Passage]]):
        self._pieces = list(pieces)
        self._starts = [0, *itertools.accumulate(map(len, pieces))]
        unread = [piece for piece in pieces if isinstance(piece, Unread)]
        self.before = unread[0].corpus
        self.kept = frozenset(piece.name for piece in unread)
        self.fresh = [passage for piece in pieces if not isinstance(piece, Unread) for passage in piece]

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Passage]:
        return iter(self._in_memory)

    def __getitem__(self, row):
        """A passage, or those of a slice: what is not read is fetched at once."""
        if not isinstance(row, slice):
            return self[row : row + 1 or None][0]
        found: list[Passage | str] = []
        for number in range(*row.indices(len(self))):
            at = bisect.bisect_right(self._starts, number) - 1
            piece, within = self._pieces[at], number - self._starts[at]
            found.append(f"{piece.name}@{within}" if isinstance(piece, Unread) else piece[within])
        read = iter(self.before.with_ids([one for one in found if isinstance(one, str)]))
        return [next(read) if isinstance(one, str) else one for one in found]

    def __contains__(self, passage_id: object) -> bool:
        return passage_id in self._in_memory

    def by_id(self, passage_id: str) -> Passage:
        """The passage of an id; raises KeyError where there is none."""
        return self._in_memory.by_id(passage_id)

    @functools.cached_property
    def _in_memory(self) -> Corpus:
        read = by_document(self.before, sorted(self.kept))
        return Corpus(
            passage for piece in self._pieces for passage in (read[piece.name] if isinstance(piece, Unread) else piece)
        )


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
