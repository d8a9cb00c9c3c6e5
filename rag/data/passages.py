"""The corpus: passages by row and by id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

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

    def sha256(self) -> str:
        """A hash of every id, title, text, source and place, in order."""
        # \x1f and \x1e separate fields and passages: no text can imitate another split of the same characters.
        digest = hashlib.sha256()
        for p in self._passages:
            place = [f"{p.place.start} {p.place.end} {p.place.page}"] if p.place else []
            digest.update("\x1f".join((p.id, p.title, p.text, p.source, *place)).encode("utf-8", "surrogatepass"))
            digest.update(b"\x1e")
        return digest.hexdigest()
