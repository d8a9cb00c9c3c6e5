"""The sentences of the contexts that the generator gets to see: those that the reranker finds near the question.

Extractive compression of the prompt as in RECOMP (Xu et al. 2023, https://arxiv.org/abs/2310.04408), by the
cross-encoder that ranked the passages. What has nothing to do with the question costs time, misleads a small model, and
is where a planted order stands.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence

from rag.generate.instructions import Instruction, asks_something, find_instructions
from rag.sentences import sentence_spans
from rag.types import Hit, Passage, Reranker, Span

WORDLESS_BREAKS = "、。，；：！？"  # where a text is cut that has no spaces


def select_sentences(
    reranker: Reranker, queries: Sequence[str], contexts: Sequence[Sequence[Hit]], margin: float
) -> list[dict[str, tuple[Span, ...]]]:
    """For each query, passage id -> the spans of its text to show, in order; a passage with none of them is left out.

    Sentences are scored with their passage's title. Shown are those whose score is at most `margin` below that of the
    query's best sentence, each with its neighbours, unless a neighbour asks its reader for something.
    """
    spans = [{hit.passage.id: sentence_spans(hit.passage.text, asks_something) for hit in hits} for hits in contexts]
    candidates = [
        [
            Hit(Passage(f"{hit.passage.id}#{n}", hit.passage.text[start:end].strip(), hit.passage.title), 0.0)
            for hit in hits
            for n, (start, end) in enumerate(found[hit.passage.id])
        ]
        for hits, found in zip(contexts, spans, strict=True)
    ]
    selected = []
    for hits, found, scored in zip(contexts, spans, reranker.rerank(queries, candidates), strict=True):
        scores = {hit.passage.id: hit.score for hit in scored}
        floor = max(scores.values(), default=0.0) - margin
        shown = {}
        for passage in (hit.passage for hit in hits):
            sentences = found[passage.id]
            near = {n for n in range(len(sentences)) if scores[f"{passage.id}#{n}"] >= floor}
            beside = {n + step for n in near for step in (-1, 1)} & set(range(len(sentences))) - near
            orders = find_instructions(passage.text) if beside else []
            kept = near | {n for n in beside if not _speaks(passage.text, sentences[n], orders)}
            if kept:
                shown[passage.id] = tuple(sentences[n] for n in sorted(kept))
        selected.append(shown)
    return selected


def _speaks(text: str, span: Span, orders: Sequence[Instruction]) -> bool:
    """Whether a sentence asks for something, or belongs to one of the orders in its text, which may begin before it."""
    return asks_something(text[slice(*span)]) or any(o.start < span[1] and span[0] < o.end for o in orders)


def excerpted(hits: Sequence[Hit], excerpts: Mapping[str, Sequence[Span]]) -> list[Passage]:
    """The passages as the generator sees them: their excerpts where there are any, else whole."""
    return [
        hit.passage.excerpt(excerpts[hit.passage.id]) if hit.passage.id in excerpts else hit.passage for hit in hits
    ]


def longest_beginning(text: str, spans: Sequence[Span], fits: Callable[[tuple[Span, ...]], bool]) -> tuple[Span, ...]:
    """The longest beginning, cut at a word, of what these spans show of a text that `fits`; () where no word does."""
    n_characters = sum(end - start for start, end in spans)
    longest = bisect.bisect_left(range(1, n_characters + 1), True, key=lambda n: not fits(_beginning(text, spans, n)))
    return _beginning(text, spans, longest)


def _beginning(text: str, spans: Sequence[Span], n_characters: int) -> tuple[Span, ...]:
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
