"""Whether an answer is supported by what it cites, checked before it is shown: by its words, reranker and reader.

The reranker scores the question with the answer behind it, as one statement, against each cited sentence. Where a span
reader read the passages, what it read there is compared with the answer: a second opinion, which costs nothing more.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from rag.evaluate.answers import reference_token_recall
from rag.evaluate.metrics import token_f1
from rag.generate.copies import is_copied, normalized_words
from rag.generate.excerpts import sentence_hits
from rag.types import Answer, Hit, Passage, Reranker, Response, Support

SENTENCES_SCORED = 4
"""A statement is scored against those cited sentences that share most words with it: more were no better on dev."""
SUPPORTED = 0.5
"""The agreement from which on an answer is called supported."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A piece of an answer, and the passages that it cites."""

    text: str
    cited: tuple[Passage, ...]


def find_support(reranker: Reranker, responses: Sequence[Response]) -> list[Support | None]:
    """How far each answer is supported by what it cites; None for a refusal, and where nothing was shown.

    A piece of an answer is compared with the passages cited behind it, else with all that the answer cites; where it
    cites none, with all contexts. Of several pieces the one of the lowest logit counts. The words of an answer stand in
    a passage where those of each piece do.
    """
    claims = [_claims(response) for response in responses]
    statements = [
        (f"{response.query.text} {claim.text}", claim)
        for response, own in zip(responses, claims, strict=True)
        for claim in own
    ]
    if not statements:
        return [None for _ in responses]
    # The sentences of all answers go through the reranker in one call.
    candidates = [_nearest(statement, claim.cited) for statement, claim in statements]
    ranked_sentences = iter(reranker.rerank([statement for statement, _ in statements], candidates))
    found: list[Support | None] = []
    for response, own in zip(responses, claims, strict=True):
        logits = [hits[0].score for hits in itertools.islice(ranked_sentences, len(own)) if hits]
        found.append(Support(_holding(own), min(logits), _agreement(response, own)) if logits else None)
    return found


def _claims(response: Response) -> list[_Claim]:
    """The pieces of an answer that say something; none of a refusal."""
    answer = response.answer
    if answer is None or answer.abstained:
        return []
    contexts = {hit.passage.id: hit.passage for hit in response.contexts}
    claims = []
    for text, cited in answer.pieces():
        if normalized_words(text):
            ids = cited or answer.citations
            passages = tuple(contexts[pid] for pid in ids if pid in contexts)
            claims.append(_Claim(text.strip(), passages or tuple(contexts.values())))
    return claims


def _nearest(statement: str, cited: Sequence[Passage]) -> list[Hit]:
    """The cited sentences that share most words with a statement, first ones first."""
    words = set(normalized_words(statement))
    sentences = [hit for passage in cited for hit in sentence_hits(passage)]
    shared = {hit.passage.id: len(words.intersection(normalized_words(hit.passage.content))) for hit in sentences}
    return sorted(sentences, key=lambda hit: -shared[hit.passage.id])[:SENTENCES_SCORED]


def _holding(claims: Sequence[_Claim]) -> tuple[str, ...]:
    """The passages in which the claims stand word for word; none where one claim stands in no passage that it cites."""
    holding: list[str] = []
    for claim in claims:
        words = normalized_words(claim.text)
        own = [passage.id for passage in claim.cited if is_copied(words, [passage])]
        if not own:
            return ()
        holding += own
    return tuple(dict.fromkeys(holding))


def _agreement(response: Response, claims: Sequence[_Claim]) -> float | None:
    """How far the answer says what the reader reads in a cited passage: token F1, or the share of the span's tokens.

    The share counts for answers in sentences, which say more than the span.
    """
    cited = {passage.id: passage for claim in claims for passage in claim.cited}
    read = [response.spans[pid].text_in(passage) for pid, passage in cited.items() if pid in response.spans]
    if not read:
        return None
    assert isinstance(response.answer, Answer)
    text, spans = response.answer.text, [span for span in read if span]
    return max(token_f1(text, spans), reference_token_recall(text, spans))


def support_line(response: Response) -> str:
    """What a reader is told below an answer: "supported by [2], word for word"; "" where nothing was checked."""
    support, answer = response.support, response.answer
    if support is None or answer is None:
        return ""
    numbers = {hit.passage.id: f"[{number}]" for number, hit in enumerate(response.contexts, 1)}
    cited = " ".join(numbers[pid] for pid in answer.citations if pid in numbers)
    is_verbatim = bool(support.word_for_word)
    if not cited:
        return "no passage is cited" if is_verbatim else "no passage is cited, not found word for word"
    if support.agreement is None:
        return f"{'word for word' if is_verbatim else 'not word for word'} in {cited}"
    how = "supported" if support.agreement >= SUPPORTED else "weakly supported"
    return f"{how} by {cited}, {'' if is_verbatim else 'not '}word for word"


def support_json(response: Response) -> dict:
    """{"support": {"line", "word_for_word", "score", "logit", "agreement"}} of an answer that was checked; else {}.

    `word_for_word` are numbers of contexts.
    """
    support = response.support
    if support is None:
        return {}
    holding = [number for number, hit in enumerate(response.contexts, 1) if hit.passage.id in support.word_for_word]
    return {
        "support": {
            "line": support_line(response),
            "word_for_word": holding,
            "score": round(support.score, 4),
            "logit": round(support.logit, 4),
            "agreement": None if support.agreement is None else round(support.agreement, 4),
        }
    }
