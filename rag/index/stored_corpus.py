"""The passages of a store as a corpus: single ones are fetched when they are asked for, all of them once if need be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rag.data.passages import Corpus
from rag.data.pieces import Unread
from rag.documents.records import HASH_CHARACTERS
from rag.documents.scan import FoundFile
from rag.types import Passage

if TYPE_CHECKING:
    from rag.store.milvus import MilvusReader

SINGLE_LOOKUPS = 500
"""So many passages are fetched one by one; whoever asks for more is given all at once."""
_DIGITS = re.compile(r"(\d+)")


class StoreCorpus(Corpus):
    """Passages in the order of their ids, numbers by their value."""

    def __init__(self, store: MilvusReader):
        self.generation = store.generation
        self._store, self._n = store, int(store.manifest["n_passages"])
        self._found: dict[str, Passage | None] = {}
        self._all: Corpus | None = None

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, row):
        return self._loaded()[row]

    def __iter__(self) -> Iterator[Passage]:
        return iter(self._loaded())

    def __contains__(self, passage_id: object) -> bool:
        return isinstance(passage_id, str) and self._find(passage_id) is not None

    def by_id(self, passage_id: str) -> Passage:
        found = self._find(passage_id)
        if found is None:
            raise KeyError(passage_id)
        return found

    def row_of(self, passage_id: str) -> int | None:
        return self._loaded().row_of(passage_id)

    def with_ids(self, ids: Sequence[str]) -> list[Passage]:
        found = self._store.passages(ids)
        return [found[pid] for pid in ids]

    def sha256(self) -> str:
        return self._loaded().sha256()

    def of_document(self, name: str) -> list[Passage]:
        return sorted(self._store.of_document(name), key=_natural)

    def _find(self, passage_id: str) -> Passage | None:
        if self._all is None and passage_id not in self._found:
            if len(self._found) >= SINGLE_LOOKUPS:
                self._loaded()
            else:
                self._found[passage_id] = self._store.passages([passage_id]).get(passage_id)
        if self._all is not None:
            return self._all.by_id(passage_id) if passage_id in self._all else None
        return self._found[passage_id]

    def _loaded(self) -> Corpus:
        if self._all is None:
            self._all = Corpus(sorted(self._store.scan(), key=_natural))
        return self._all


def unread(corpus: StoreCorpus, documents: Sequence[Mapping]) -> dict[str, Unread]:
    """The passages of documents, by their names, which nobody has read yet."""
    found = {}
    for row in documents:
        name = row["sha256"][:HASH_CHARACTERS]
        found[name] = Unread(corpus, name, row["n_passages"], FoundFile(**row["paths"][0]).shown_path)
    return found


def _natural(passage: Passage) -> list[str | int]:
    """`a@10` behind `a@2`."""
    return [int(part) if part.isdecimal() else part for part in _DIGITS.split(passage.id)]
