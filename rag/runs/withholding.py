"""Retrieval in which a question does not find what answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag.build.retrievers import Retrievers
from rag.evaluate.unanswerable import Withheld
from rag.types import Hit


class WithholdingRetriever:
    """Finds what the retriever `kind` finds, without what is withheld from a question; `withheld` is by its text.

    Those questions search without the documents withheld, and no passage that answers is among what they find. Where
    fewer than `least` passages are left, others of the documents follow. Other questions are searched as usual.
    """

    def __init__(self, retrievers: Retrievers, kind: str, withheld: Mapping[str, Withheld], *, least: int):
        self._retrievers, self._kind, self._withheld, self._least = retrievers, kind, withheld, least
        self._whole = retrievers.get(kind)

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k best passages of each query, without those that answer it: then fewer."""
        usual = [query for query in queries if query not in self._withheld]
        found = dict(zip(usual, self._whole.retrieve(usual, k), strict=True))
        return [found[query] if query in found else self._without(query, self._withheld[query], k) for query in queries]

    def _without(self, query: str, withheld: Withheld, k: int) -> list[Hit]:
        elsewhere = self._retrievers.without(self._kind, withheld.documents)
        (hits,) = elsewhere.retrieve([query], k)
        left = [hit for hit in hits if not withheld.is_answered_by(hit.passage)]
        if len(left) >= self._least:
            return left
        (hits,) = self._whole.retrieve([query], k)
        same = [hit for hit in hits if hit.passage.document in withheld.documents]
        return [*left, *(hit for hit in same if not withheld.is_answered_by(hit.passage))][:k]
