"""The corpus: passages by row and by id."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from rag.errors import DataError
from rag.types import Passage


class Corpus(Sequence[Passage]):
    """Passages in a fixed order: row numbers to passages, ids to rows."""

    def __init__(self, passages: Iterable[Passage]):
        self._passages = list(passages)
        self._rows = {passage.id: row for row, passage in enumerate(self._passages)}

    def __len__(self) -> int:
        return len(self._passages)

    def __getitem__(self, row):
        return self._passages[row]

    def __contains__(self, passage_id: object) -> bool:
        return passage_id in self._rows

    def by_id(self, passage_id: str) -> Passage:
        """The passage of an id; raises KeyError where there is none."""
        return self._passages[self._rows[passage_id]]

    def row_of(self, passage_id: str) -> int | None:
        """The row of an id, None where there is no such passage."""
        return self._rows.get(passage_id)

    def with_ids(self, ids: Sequence[str]) -> list[Passage]:
        """The passages of ids, in their order; raises KeyError where one is not there."""
        return [self.by_id(pid) for pid in ids]

    def ids(self) -> Iterator[str]:
        """Every id, in order."""
        return (passage.id for passage in self)

    def of_document(self, name: str) -> list[Passage]:
        """The passages of a document, in order."""
        return [passage for passage in self if passage.document == name]

    def marked(self, documents: Collection[str]) -> np.ndarray:
        """(n,) bool: the passages of these documents."""
        wanted = frozenset(documents)
        return np.fromiter((passage.document in wanted for passage in self), bool, len(self))

    def sha256(self) -> str:
        """A hash of every id, title, text, source and place, in order."""
        # \x1f and \x1e separate fields and passages: no text can imitate another split of the same characters.
        digest = hashlib.sha256()
        for p in self:
            place = [f"{p.place.start} {p.place.end} {p.place.page}"] if p.place else []
            digest.update("\x1f".join((p.id, p.title, p.text, p.source, *place)).encode("utf-8", "surrogatepass"))
            digest.update(b"\x1e")
        return digest.hexdigest()


def refuse_equal_ids(ids: Iterable[str]) -> None:
    """Raises DataError where an id is there twice."""
    twice = next((pid for pid, n in Counter(ids).items() if n > 1), None)
    if twice is not None:
        raise DataError(f"two passages have the id {twice!r}")
