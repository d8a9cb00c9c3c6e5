"""Excerpts: of the contexts, the generator is shown only sentences that the reranker finds near the question.

This is extractive compression of the prompt as in RECOMP (Xu et al. 2023, https://arxiv.org/abs/2310.04408), done by
the cross-encoder that ranked the passages. Irrelevant sentences cost time and mislead a small model. Most injected
instructions are irrelevant sentences, so they are left out too.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence, Set

from rag.generate.instructions import Instruction, asks_something, find_instructions
from rag.generate.pieces import Piece, find_pieces
from rag.types import Hit, Passage, Reranker, Span

WORDLESS_BREAKS = "、。，；：！？"  # where a text without spaces may be cut


def select_sentences(
    reranker: Reranker, queries: Sequence[str], contexts: Sequence[Sequence[Hit]], margin: float
) -> list[dict[str, tuple[Span, ...]]]:
    """For each query, passage id -> the spans of its text to show, in order.

    A sentence is scored together with its passage's title; a block such as code or a list counts as one sentence with
    what leads in to it (`rag.generate.pieces`). It is shown if its score is at most `margin` below that of the query's
    best sentence. Its neighbours are shown too, unless they ask the reader for something. A passage without any such
    sentence has no entry.
    """
    pieces = [{hit.passage.id: find_pieces(hit.passage.text, asks_something) for hit in hits} for hits in contexts]
    # The sentences of all queries go through the reranker in one call.
    candidates = [
        [_sentence(hit.passage, n, piece) for hit in hits for n, piece in enumerate(found[hit.passage.id])]
        for hits, found in zip(contexts, pieces, strict=True)
    ]
    selected = []
    for hits, found, scored in zip(contexts, pieces, reranker.rerank(queries, candidates), strict=True):
        scores = {hit.passage.id: hit.score for hit in scored}
        floor = max(scores.values(), default=0.0) - margin
        shown = {}
        for passage in (hit.passage for hit in hits):
            sentences = found[passage.id]
            near = {n for n in range(len(sentences)) if scores[_sentence_id(passage, n)] >= floor}
            if near:
                shown[passage.id] = _with_neighbours(passage.text, sentences, near)
        selected.append(shown)
    return selected


def sentence_hits(passage: Passage) -> list[Hit]:
    """The sentences of a passage, each as a passage of its own with the title, for the reranker."""
    return [_sentence(passage, n, piece) for n, piece in enumerate(find_pieces(passage.text, asks_something))]


def _sentence(passage: Passage, n: int, piece: Piece) -> Hit:
    """Sentence `n` as a passage of its own, for the reranker."""
    text = passage.text[piece.start : piece.end].strip()
    return Hit(Passage(_sentence_id(passage, n), text, passage.title), 0.0)


def _sentence_id(passage: Passage, n: int) -> str:
    return f"{passage.id}#{n}"


def _with_neighbours(text: str, sentences: Sequence[Piece], near: Set[int]) -> tuple[Span, ...]:
    """The spans of the sentences in `near` and of those beside them, which often name what a pronoun stands for."""
    beside = {n + step for n in near for step in (-1, 1) if 0 <= n + step < len(sentences)} - near
    orders = find_instructions(text) if beside else []
    spans: list[Span] = []
    for n in sorted(near | beside):
        piece = sentences[n]
        spans += [(piece.start, piece.end)] if n in near else _harmless(text, piece, orders)
    return tuple(spans)


def _harmless(text: str, piece: Piece, orders: Sequence[Instruction]) -> list[Span]:
    """The spans of a neighbour to show: none of a sentence that asks for something, or belongs to one of the text's
    orders, which may begin before it; of code, lists, addresses and tables all but the orders.

    Such blocks tell their readers to say, print and visit things: only what addresses a model is left out of them.
    """
    speaks = asks_something(text[piece.start : piece.block])
    if speaks or any(order.start < piece.block and piece.start < order.end for order in orders):
        return []
    spans: list[Span] = []
    start = piece.start
    for order in orders:
        if order.start < piece.end and piece.block < order.end:
            spans.append((start, max(order.start, start)))
            start = min(order.end, piece.end)
    return [(a, b) for a, b in [*spans, (start, piece.end)] if text[a:b].strip()]


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
