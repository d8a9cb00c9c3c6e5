"""Retrieval for a question that follows others: it is searched for in several forms, and the results are fused.

A follow-up such as "And in winter?" finds little by itself, and a model that rewrites it may be wrong. So the question
is also searched for with what the conversation is about put before it: the title of the passage that the last answer
cited, and the last question with its answer. How much these count depends on whether the conversation goes on: words of
the question refer back, or, in any language, the question by itself finds the document that was cited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag.retrieve.hybrid import fuse_ranks
from rag.types import Hit, Passage, Retriever

# Chosen by Recall@10 over conversations made from dev questions: docs/experiments/2026-11-29-follow-ups.md.
RRF_K = 10
DEPTH = 100
FOUND_WITHIN = 30  # the first ranks of the question by itself, among which the cited document is looked for
TITLE_WEIGHT = 3.0
BEFORE_WEIGHT = 1.0
BEFORE_WEIGHT_ALONE = 2.0  # where there is no title
NEW_TOPIC_WEIGHT = 0.3  # of the title, where nothing shows that the conversation goes on


@dataclass(frozen=True, slots=True)
class Before:
    """What a conversation was about: its last question with the answer, and the passage that it cited, if any."""

    text: str
    cited: Passage | None = None

    @property
    def title(self) -> str:
        """The title of the cited passage; "" where there is none."""
        return self.cited.title.strip() if self.cited is not None else ""


class FollowUpRetriever:
    """A retriever that searches with another one, for a question and what was said before it.

    `question` is as typed. What `retrieve` is given may be a rewritten form of it, and counts with weight 1. If
    `refers_back`, words of the question refer to what was said before it.
    """

    def __init__(self, retriever: Retriever, question: str, before: Before, *, refers_back: bool):
        self.retriever = retriever
        self.question = question
        self.before = before
        self.refers_back = refers_back

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest fused score for each query, best first, ties by id."""
        found = self.retriever.retrieve(queries, max(k, DEPTH))
        return [self._with_context(hits)[:k] for hits in found]

    def _with_context(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits of the question by itself, fused with those of its other forms."""
        weights = self._weights(hits)
        if not weights:
            return list(hits)
        texts = [f"{words} {self.question}" for words in weights]
        in_context = self.retriever.retrieve(texts, max(len(hits), DEPTH))
        return fuse_ranks([(1.0, hits), *zip(weights.values(), in_context, strict=True)], RRF_K)

    def _weights(self, hits: Sequence[Hit]) -> dict[str, float]:
        """The words to put before the question, and how much what they find counts."""
        title, text = self.before.title, self.before.text.strip()
        if not self.refers_back and not self._finds_the_cited_document(hits):
            return {title: NEW_TOPIC_WEIGHT} if title else {}
        weights = {title: TITLE_WEIGHT, text: BEFORE_WEIGHT} if title else {text: BEFORE_WEIGHT_ALONE}
        return {words: weight for words, weight in weights.items() if words}

    def _finds_the_cited_document(self, hits: Sequence[Hit]) -> bool:
        cited = self.before.cited
        return cited is not None and any(hit.passage.document == cited.document for hit in hits[:FOUND_WITHIN])
