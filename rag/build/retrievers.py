"""Retrievers over an index."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rag.build.parts import make_encoder
from rag.config import RetrieverKind, Settings
from rag.documents.collection import collections_of
from rag.documents.records import HASH_CHARACTERS
from rag.errors import ConfigError, DataError
from rag.index.folder import serving_manifest
from rag.index.read import open_index, read_documents
from rag.lazy import Lazy
from rag.retrieve.multi_hop import FusedMultiHopRetriever, MultiHopRetriever
from rag.retrieve.placed import PlacedRetriever, by_hash, collections_within
from rag.store.note import has_note
from rag.types import FusedRetriever

if TYPE_CHECKING:
    import numpy as np

    from rag.index.stored_index import StoreIndex
    from rag.retrieve.bm25 import BM25Retriever
    from rag.retrieve.closeness import Closeness
    from rag.retrieve.dense import DenseRetriever
    from rag.retrieve.encoder import Encoder
    from rag.retrieve.hybrid import HybridRetriever
    from rag.store.retrieve import StoreDense, StoreLexical
    from rag.store.store import Where
    from rag.types import Retriever


class Retrievers:
    """Every retriever over one index. They share what they are made of, and each part loads when it is first needed.

    The encoder must be the one that made the index (IndexMismatchError); one that is there already can be given.
    """

    def __init__(self, settings: Settings, index_folder: str | Path, encoder: Lazy[Encoder] | None = None):
        self._settings = settings
        self.encoder = encoder or Lazy(lambda: make_encoder(settings))
        self.index = Lazy(lambda: open_index(index_folder))
        self._bm25 = Lazy(self._make_bm25)
        self._dense = Lazy(self._make_dense)
        self._closeness = Lazy(self._make_closeness)
        # Without opening the passages: the page asks for it before anybody asks a question.
        self._collections = Lazy(lambda: collections_of(read_documents(serving_manifest(index_folder)[0])))

    def get(self, kind: str, collections: Collection[str] | None = None, *, hidden: Collection[str] = ()) -> Retriever:
        """`hybrid`, `dense` or `bm25`, over everything or over some collections (see `collections`).

        Over some collections, a passage names the place of its document in one of these. The documents `hidden`, by
        their names in passage ids, are never found.
        """
        found = self._over(kind, self._within(collections, hidden))
        if collections is None:
            return found
        return PlacedRetriever(found, by_hash(collections_within(self.collections(), list(collections))))

    def without(self, kind: str, documents: Collection[str]) -> Retriever:
        """`hybrid`, `dense` or `bm25`, over everything but some documents, by their names in passage ids."""
        return self._over(kind, self._within(None, documents))

    def _within(self, collections: Collection[str] | None, hidden: Collection[str]) -> np.ndarray | Where | None:
        """What is searched: (n,) bool, or a part of a store; None: everything. Raises DataError as `_rows`."""
        if self._stored() is not None:
            from rag.store.store import Where

            names = None if collections is None else frozenset(collections)
            self._check_there(names or ())
            return Where(collections=names, hidden=frozenset(hidden))
        rows = None if collections is None else self._rows(collections)
        if not hidden:
            return rows
        seen = self._but(hidden)
        return seen if rows is None else rows & seen

    def _but(self, documents: Collection[str]) -> np.ndarray:
        """(n,) bool: the passages of all documents but these."""
        return ~self.index.get().corpus.marked(documents)

    def _over(self, kind: str, within: np.ndarray | Where | None) -> Retriever:
        """A retriever over the passages marked in `within`, (n,) bool, or over a part of a store; None: over all."""
        self.index.get().check_holds_passages()
        stored = self._stored()
        made: dict[str, Lazy[Any]] = {"dense": self._dense, "bm25": self._bm25}
        parts = {name: made[name].get() for name in ([kind] if kind in made else made)}
        if within is not None:
            parts = {name: part.restricted_to(within) for name, part in parts.items()}
        found: Retriever = parts[kind] if kind in made else self._fused(parts)
        if stored is not None:
            found = _with_texts(found, stored)
        return found if self._settings.retriever.hops == 1 else _in_two_rounds(found)

    def _fused(self, parts: Mapping[str, Any]) -> HybridRetriever:
        """The ranks of these retrievers, by name, fused as the settings say."""
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
        there = self._check_there(collections)
        chosen = {row["sha256"][:HASH_CHARACTERS] for name in collections for row in there[name]}
        return self.index.get().corpus.marked(chosen)

    def _check_there(self, collections: Collection[str]) -> dict[str, list[Mapping]]:
        """All collections. Raises DataError where one of these is not among them."""
        there = self.collections() if collections else {}
        if missing := [name for name in collections if name not in there]:
            raise DataError(f"there is no collection {missing[0]!r}; choose among {', '.join(there)}")
        return there

    def _stored(self) -> StoreIndex | None:
        """The index where its passages are kept in a store; None for one in a folder."""
        index: Any = self.index.get()
        return index if has_note(index.folder.parent) else None

    def _make_bm25(self) -> BM25Retriever | StoreLexical:
        if (stored := self._stored()) is None:
            return self.index.get().bm25()
        from rag.store.retrieve import StoreLexical

        stored.opened.check_counts_words()
        return StoreLexical(stored.opened)

    def _make_dense(self) -> DenseRetriever | StoreDense:
        from rag.retrieve.dense import DenseRetriever

        encoder, index, chosen = self.encoder.get(), self.index.get(), self._settings.index
        index.check_encoder(encoder.fingerprint)
        if (stored := self._stored()) is not None:
            from rag.store.retrieve import StoreDense

            return StoreDense(encoder, stored.opened)
        vectors = index.vectors(nprobe=chosen.nprobe, ef_search=chosen.ef_search)
        return DenseRetriever(encoder, vectors, index.corpus, windows=index.windows())

    def closeness(self) -> Closeness:
        """Cosines of questions with any passage. Raises ConfigError where the passages are kept in a store."""
        return self._closeness.get()

    def _make_closeness(self) -> Closeness:
        from rag.retrieve.closeness import Closeness

        if self._stored() is not None:
            raise ConfigError(
                "reranker.cosine_weight needs an index in a folder, and this one keeps its vectors in a store; "
                "--set reranker.cosine_weight=0"
            )
        dense: Any = self._dense.get()
        return Closeness(dense.encoder, dense.index, dense.corpus, dense.windows)


def _in_two_rounds(retriever: Retriever) -> Retriever:
    """A retriever that asks this one twice, and has parts where this one has."""
    return FusedMultiHopRetriever(retriever) if isinstance(retriever, FusedRetriever) else MultiHopRetriever(retriever)


def _with_texts(retriever: Any, index: StoreIndex) -> Retriever:
    """A retriever over a store whose hits have their texts."""
    from rag.retrieve.hybrid import HybridRetriever
    from rag.store.retrieve import FusedWithTexts, WithTexts

    return (FusedWithTexts if isinstance(retriever, HybridRetriever) else WithTexts)(retriever, index.opened)
