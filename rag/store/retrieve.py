"""Retrievers over a store: they find ids, and texts are fetched for the passages that are given back alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rag.retrieve.encoder import Encoder
from rag.retrieve.hybrid import HybridRetriever
from rag.store.store import EVERYWHERE, Scored, Store, Where
from rag.types import Hit, Passage, Retriever


class StoreDense:
    """The encoder's query vectors against a store's; its hits have no texts (`WithTexts`)."""

    def __init__(self, encoder: Encoder, store: Store, where: Where = EVERYWHERE):
        self.encoder, self.store, self.where = encoder, store, where

    def restricted_to(self, where: Where) -> StoreDense:
        """The same over a part of the store."""
        return StoreDense(self.encoder, self.store, where)

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest cosine for each query, best first, ties by id."""
        if not queries:
            return []
        return _hits(self.store.dense(self.encoder.encode_queries(queries), k, self.where))


class StoreLexical:
    """BM25 of a store; its hits have no texts (`WithTexts`)."""

    def __init__(self, store: Store, where: Where = EVERYWHERE):
        self.store, self.where = store, where

    def restricted_to(self, where: Where) -> StoreLexical:
        """The same over a part of the store."""
        return StoreLexical(self.store, where)

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest BM25 score for each query, best first, ties by id."""
        return _hits(self.store.lexical(queries, k, self.where)) if queries else []


class WithTexts:
    """A retriever whose hits get their texts from the store."""

    def __init__(self, retriever: Retriever, store: Store):
        self.retriever, self.store = retriever, store

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k best passages of each query, as the retriever finds them."""
        return self._with_texts(self.retriever.retrieve(queries, k))

    def _with_texts(self, found: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        passages = self.store.passages(list({hit.passage.id: None for hits in found for hit in hits}))
        return [_filled(hits, passages) for hits in found]


class FusedWithTexts(WithTexts):
    """A fusion whose hits get their texts from the store: those of its parts only where they were fused, too."""

    def __init__(self, retriever: HybridRetriever, store: Store):
        super().__init__(retriever, store)
        self.fused = retriever

    def retrieve_with_parts(self, queries: Sequence[str], k: int) -> tuple[list[list[Hit]], dict[str, list[list[Hit]]]]:
        """What `retrieve` returns, and the k best of each retriever, by its name."""
        found, parts = self.fused.retrieve_with_parts(queries, k)
        with_texts = self._with_texts(found)
        passages = {hit.passage.id: hit.passage for hits in with_texts for hit in hits}
        some = {name: [[_as_far_as(hit, passages) for hit in hits] for hits in lists] for name, lists in parts.items()}
        return with_texts, some


def _hits(found: Sequence[Scored]) -> list[list[Hit]]:
    return [[Hit(Passage(pid, ""), score) for pid, score in own] for own in found]


def _filled(hits: Sequence[Hit], passages: dict[str, Passage]) -> list[Hit]:
    """Hits with their texts; one that was taken out since it was found is left out."""
    return [Hit(passages[hit.passage.id], hit.score) for hit in hits if hit.passage.id in passages]


def _as_far_as(hit: Hit, passages: dict[str, Passage]) -> Hit:
    return dataclasses.replace(hit, passage=passages.get(hit.passage.id, hit.passage))
