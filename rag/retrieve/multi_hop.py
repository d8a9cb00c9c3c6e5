"""Multi-hop retrieval: two rounds of search, for questions whose answer takes two documents.

"Where was the director of Amber Line born?" finds the film, and the film's passage names the director. So the question
is searched for again with the names that the best passage has and the question lacks. A passage whose title the best
one names counts more. Both work in any language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.retrieve.hybrid import fuse_ranks
from rag.scripts import composed, spaced_out
from rag.types import FusedRetriever, Hit, Passage, Retriever

# Chosen on training questions of HotpotQA, without training on them: docs/experiments/2026-11-30-two-hops.md.
RRF_K = 10
DEPTH = 100
SECOND_WEIGHT = 0.3
NAMED_WEIGHT = 0.5
LONGEST_CHARACTERS = 4_000
"""Of a passage, what is looked at for names."""
SHORTEST_TITLE = 3

_WORD = re.compile(r"\w+")
_QUALIFIER = re.compile(r" \([^()]*\)\Z")


class MultiHopRetriever:
    """A retriever that asks another one twice, and fuses what it finds by rank."""

    def __init__(self, retriever: Retriever):
        self._retriever = retriever

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k passages of highest fused score for each query, best first, ties by id."""
        first = self._retriever.retrieve(queries, max(k, DEPTH))
        return self._second_round(queries, first, k)

    def _second_round(self, queries: Sequence[str], first: Sequence[Sequence[Hit]], k: int) -> list[list[Hit]]:
        """The first round's hits of each query fused with those of a second, for all queries in one search."""
        names = [new_names(query, hits[0].passage) if hits else [] for query, hits in zip(queries, first, strict=True)]
        texts = [" ".join([query, *own]) for query, own in zip(queries, names, strict=True) if own]
        found = iter(self._retriever.retrieve(texts, max(k, DEPTH)))
        return [_fused(hits, next(found) if own else [])[:k] for hits, own in zip(first, names, strict=True)]


class FusedMultiHopRetriever(MultiHopRetriever):
    """The same over a fusion; its parts are what they found for the question itself."""

    def __init__(self, retriever: FusedRetriever):
        super().__init__(retriever)
        self._fused = retriever

    def retrieve_with_parts(self, queries: Sequence[str], k: int) -> tuple[list[list[Hit]], dict[str, list[list[Hit]]]]:
        """What `retrieve` returns, and the k best of each retriever for the question, by its name."""
        first, parts = self._fused.retrieve_with_parts(queries, max(k, DEPTH))
        return self._second_round(queries, first, k), {
            name: [own[:k] for own in lists] for name, lists in parts.items()
        }


def new_names(query: str, passage: Passage) -> list[str]:
    """The words of a passage that begin with no small letter and are not in the query, each once, in their order.

    These are names and numbers; in scripts without capital letters, all words.
    """
    known = set(_WORD.findall(composed(query).casefold()))
    words = _WORD.findall(composed(passage.text[:LONGEST_CHARACTERS]))
    return list(dict.fromkeys(word for word in words if not word[0].islower() and word.casefold() not in known))


def _fused(first: Sequence[Hit], second: Sequence[Hit]) -> list[Hit]:
    """The hits of both rounds by fused rank; the best one of the first, and those that it names, count once more."""
    if not first:
        return []
    lists = [(1.0, first), (SECOND_WEIGHT, second)]
    named = named_in(first[0].passage, fuse_ranks(lists, RRF_K))
    return fuse_ranks([*lists, (NAMED_WEIGHT, [first[0], *named])], RRF_K)


def named_in(passage: Passage, hits: Sequence[Hit]) -> list[Hit]:
    """The hits, in their order, whose document's title stands in the passage's text, but is not of its own title."""
    text, own = _words(passage.text[:LONGEST_CHARACTERS]), _name(passage)
    return [hit for hit in hits if (name := _name(hit.passage)) not in own and name in text]


def _name(passage: Passage) -> str:
    """The words of a document's title, without headings and what tells it from others of the name; " " if too short."""
    title = _QUALIFIER.sub("", passage.title.split(" › ")[0])
    return _words(title) if len(title) >= SHORTEST_TITLE else " "


def _words(text: str) -> str:
    """The words of a text, each between spaces, so that one text's words can be looked for in another's."""
    return f" {' '.join(_WORD.findall(spaced_out(composed(text)).casefold()))} "
