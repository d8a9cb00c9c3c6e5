"""Retrievers over an index."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rag.build.parts import make_encoder
from rag.config import RetrieverKind, Settings
from rag.documents.collection import collections_of
from rag.documents.records import HASH_CHARACTERS
from rag.errors import DataError
from rag.index.folder import serving_manifest
from rag.index.read import open_index, read_documents
from rag.lazy import Lazy

if TYPE_CHECKING:
    import numpy as np

    from rag.retrieve.bm25 import BM25Retriever
    from rag.retrieve.dense import DenseRetriever
    from rag.retrieve.encoder import Encoder
    from rag.types import Retriever


class Retrievers:
    """Every retriever over one index. They share what they are made of, and each part loads when it is first needed.

    The encoder must be the one that made the index (IndexMismatchError); one that is there already can be given.
    """

    def __init__(self, settings: Settings, index_folder: str | Path, encoder: Lazy[Encoder] | None = None):
        self._settings = settings
        self.encoder = encoder or Lazy(lambda: make_encoder(settings))
        self.index = Lazy(lambda: open_index(index_folder))
        self._bm25 = Lazy(lambda: self.index.get().bm25())
        self._dense = Lazy(self._make_dense)
        self._documents = Lazy(self._document_names)
        # Without opening the passages: the page asks for it before anybody asks a question.
        self._collections = Lazy(lambda: collections_of(read_documents(serving_manifest(index_folder)[0])))

    def get(self, kind: str, collections: Collection[str] | None = None) -> Retriever:
        """`hybrid`, `dense` or `bm25`, over everything or over some collections (see `collections`)."""
        return self._over(kind, None if collections is None else self._rows(collections))

    def without(self, kind: str, documents: Collection[str]) -> Retriever:
        """`hybrid`, `dense` or `bm25`, over everything but some documents, by their names in passage ids."""
        import numpy as np

        return self._over(kind, ~np.isin(self._documents.get(), list(documents)))

    def _over(self, kind: str, within: np.ndarray | None) -> Retriever:
        """A retriever over the passages marked in `within`, (n,) bool; None: over all."""
        self.index.get().check_holds_passages()
        made: dict[str, Lazy[DenseRetriever] | Lazy[BM25Retriever]] = {"dense": self._dense, "bm25": self._bm25}
        parts = {name: made[name].get() for name in ([kind] if kind in made else made)}
        if within is not None:
            parts = {name: part.restricted_to(within) for name, part in parts.items()}
        if kind in made:
            return parts[kind]
        from rag.retrieve.hybrid import HybridRetriever

        chosen = self._settings.retriever
        return HybridRetriever(
            parts,
            weights={"dense": chosen.dense_weight, "bm25": chosen.bm25_weight},
            rrf_k=chosen.rrf_k,
            depth=chosen.fusion_depth,
        )

    def each(self) -> dict[str, Lazy[Retriever]]:
        """Every kind, over the generation of the index that serves when one is first used."""
        return {kind: Lazy(functools.partial(self.get, kind)) for kind in get_args(RetrieverKind)}

    def collections(self) -> dict[str, list[Mapping]]:
        """The documents of an index of files by the folder that was named; {} for an index of a corpus file."""
        return self._collections.get()

    def _rows(self, collections: Collection[str]) -> np.ndarray:
        """(n,) bool: the passages of documents in any of the collections. Raises DataError where one is not there."""
        import numpy as np

        there = self.collections()
        if missing := [name for name in collections if name not in there]:
            raise DataError(f"there is no collection {missing[0]!r}; choose among {', '.join(there)}")
        chosen = {row["sha256"][:HASH_CHARACTERS] for name in collections for row in there[name]}
        return np.isin(self._documents.get(), list(chosen))

    def _document_names(self) -> np.ndarray:
        """(n,) str: the document of each passage."""
        import numpy as np

        return np.array([passage.document for passage in self.index.get().corpus], str)

    def _make_dense(self) -> DenseRetriever:
        from rag.retrieve.dense import DenseRetriever

        encoder, index, chosen = self.encoder.get(), self.index.get(), self._settings.index
        index.check_encoder(encoder.fingerprint)
        vectors = index.vectors(nprobe=chosen.nprobe, ef_search=chosen.ef_search)
        return DenseRetriever(encoder, vectors, index.corpus, windows=index.windows())
