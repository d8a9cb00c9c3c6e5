"""Excerpts: of the contexts, the generator is shown only sentences that the reranker finds near the question.

This is extractive compression of the prompt as in RECOMP (Xu et al. 2023, https://arxiv.org/abs/2310.04408), done by
the cross-encoder that ranked the passages. Irrelevant sentences cost time and mislead a small model. Most injected
instructions are irrelevant sentences, so they are left out too.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence, Set

from rag.generate.instructions import Instruction, asks_something, find_instructions
from rag.sentences import sentence_spans
from rag.types import Hit, Passage, Reranker, Span

WORDLESS_BREAKS = "、。，；：！？"  # where a text without spaces may be cut


def select_sentences(
    reranker: Reranker, queries: Sequence[str], contexts: Sequence[Sequence[Hit]], margin: float
) -> list[dict[str, tuple[Span, ...]]]:
    """For each query, passage id -> the spans of its text to show, in order.

    A sentence is scored together with its passage's title. It is shown if its score is at most `margin` below that of
    the query's best sentence. Its neighbours are shown too, unless they ask the reader for something. A passage without
    any such sentence has no entry.
    """
    spans = [{hit.passage.id: sentence_spans(hit.passage.text, asks_something) for hit in hits} for hits in contexts]
    # The sentences of all queries go through the reranker in one call.
    candidates = [
        [_sentence(hit.passage, n, span) for hit in hits for n, span in enumerate(found[hit.passage.id])]
        for hits, found in zip(contexts, spans, strict=True)
    ]
    selected = []
    for hits, found, scored in zip(contexts, spans, reranker.rerank(queries, candidates), strict=True):
        scores = {hit.passage.id: hit.score for hit in scored}
        floor = max(scores.values(), default=0.0) - margin
        shown = {}
        for passage in (hit.passage for hit in hits):
            sentences = found[passage.id]
            near = {n for n in range(len(sentences)) if scores[_sentence_id(passage, n)] >= floor}
            if kept := near | _harmless_neighbours(passage.text, sentences, near):
                shown[passage.id] = tuple(sentences[n] for n in sorted(kept))
        selected.append(shown)
    return selected


def _sentence(passage: Passage, n: int, span: Span) -> Hit:
    """Sentence `n` as a passage of its own, for the reranker."""
    start, end = span
    return Hit(Passage(_sentence_id(passage, n), passage.text[start:end].strip(), passage.title), 0.0)


def _sentence_id(passage: Passage, n: int) -> str:
    return f"{passage.id}#{n}"


def _harmless_neighbours(text: str, sentences: Sequence[Span], near: Set[int]) -> set[int]:
    """The sentences beside those in `near` that ask for nothing: they often name what a pronoun stands for."""
    beside = {n + step for n in near for step in (-1, 1) if 0 <= n + step < len(sentences)} - near
    if not beside:
        return set()
    orders = find_instructions(text)
    return {n for n in beside if not _speaks(text, sentences[n], orders)}


def _speaks(text: str, span: Span, orders: Sequence[Instruction]) -> bool:
    """Whether a sentence asks for something, or belongs to one of the text's orders, which may begin before it."""
    start, end = span
    if asks_something(text[start:end]):
        return True
    return any(order.start < end and start < order.end for order in orders)


def excerpted(hits: Sequence[Hit], excerpts: Mapping[str, Sequence[Span]]) -> list[Passage]:
    """The passages as the generator is shown them: their excerpts where there are any, else whole."""
    return [
        hit.passage.excerpt(excerpts[hit.passage.id]) if hit.passage.id in excerpts else hit.passage for hit in hits
    ]


def longest_beginning(text: str, spans: Sequence[Span], fits: Callable[[tuple[Span, ...]], bool]) -> tuple[Span, ...]:
    """The longest beginning of these spans of a text that `fits`, cut at a word; () where not even one word fits.

    Found by bisection: a longer beginning is taken to need more room.
    """
    n_characters = sum(end - start for start, end in spans)
    longest = bisect.bisect_left(range(1, n_characters + 1), True, key=lambda n: not fits(_beginning(text, spans, n)))
    return _beginning(text, spans, longest)


def _beginning(text: str, spans: Sequence[Span], n_characters: int) -> tuple[Span, ...]:
    """The spans up to `n_characters` of what they show, cut back to the last word that is whole."""
    shown: list[Span] = []
    for start, end in spans:
        cut = min(end, start + n_characters)
        while start < cut < end and not (text[cut].isspace() or text[cut] in WORDLESS_BREAKS):
            cut -= 1
        if text[start:cut].strip():
            shown.append((start, cut))
        if cut < end:
            break
        n_characters -= end - start
    return tuple(shown)
