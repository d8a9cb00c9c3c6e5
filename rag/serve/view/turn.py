"""A turn as the page's VIEW: one JSON object, made anew for each snapshot of a growing turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rag.documents.citation import NOT_IN_DOCUMENTS
from rag.evidence import USUAL_SCALE, MatchScale
from rag.generate.citations import cited_by, moved, split_citations
from rag.serve.turns import Turn
from rag.serve.view.answers import answer_html, answer_markdown, quote_html, refusal_html, support_json
from rag.serve.view.cards import card_json, find_cards, numbers_of
from rag.types import Answer

State = Literal["working", "answered", "refused", "error", "stopped"]


def turn_view(
    turn: Turn,
    *,
    number: int,
    conversation: str | None = None,
    seconds: float | None = None,
    feedback: int | None = None,
    reason: str = "",
    model: str = "",
    notes: Sequence[str] = (),
    searched_in: str = "",
    may_add: bool = True,
    may_lower: bool = True,
    scale: MatchScale | None = USUAL_SCALE,
) -> dict:
    """Turn `number` (from 1) of a conversation as JSON.

    `seconds` is how long it has taken so far, or took. `searched_in` says where was searched, as "the folder plans";
    "" for all documents. `may_add` and `may_lower` say whether a refusal may offer to add documents, and to answer more
    readily. `scale` is that of the reranker (None: not known). All fields whose name ends in `_html` are safe to insert
    into the page.
    """
    answer, state = shown_answer(turn), state_of(turn)
    cards = find_cards(turn, answer)
    numbers = numbers_of(cards)
    is_whole = state == "answered"
    return {
        "number": number,
        "conversation": conversation,
        "question": turn.question,
        "searched_for": turn.searched_for,
        "state": state,
        "status": turn.status,
        "seconds": None if seconds is None else round(seconds, 1),
        "error": turn.error,
        "answer_html": (
            answer_html(answer, cards, numbers)
            if answer
            else refusal_html(turn, searched_in)
            if state == "refused"
            else ""
        ),
        "answer_markdown": (
            answer_markdown(answer, cards, numbers) if answer else NOT_IN_DOCUMENTS if state == "refused" else ""
        ),
        "quote_html": quote_html(answer, cards) if answer and is_whole else "",
        "support": support_json(turn.response, numbers) if turn.response and is_whole else None,
        "sources": [card_json(card, turn, conversation, scale) for card in cards],
        "offers": _offers(turn, may_add=may_add, may_lower=may_lower) if state == "refused" else [],
        "notes": list(notes),
        "feedback": feedback,
        "reason": reason,
        "model": model,
    }


def _offers(turn: Turn, *, may_add: bool, may_lower: bool) -> list[dict[str, str]]:
    """What a refusal offers to do next."""
    offers = (
        ("everything", "Search all documents", turn.narrowed),
        ("lower", "Answer even when less sure", may_lower),
        ("add", "Add documents", may_add),
    )
    return [{"kind": kind, "label": label} for kind, label, is_offered in offers if is_offered]


def state_of(turn: Turn) -> State:
    """What a turn has come to; what was stopped stays stopped, whatever there is of it."""
    if turn.error:
        return "error"
    if turn.stopped:
        return "stopped"
    if not turn.done:
        return "working"
    answer = turn.response.answer if turn.response else None
    return "refused" if answer is None or answer.abstained else "answered"


def shown_answer(turn: Turn) -> Answer | None:
    """The answer of a turn as far as it is written; None where there is none yet, or it is a refusal.

    What was written so far is not parsed yet. Its markers are shown as they will be once it is.
    """
    response = turn.response
    if response is None or response.answer is None or turn.error:
        return None
    answer = response.answer
    if answer.abstained:
        return None
    if turn.done and not turn.stopped:
        return answer
    text, marks = split_citations(answer.text, [hit.passage for hit in response.contexts])
    return Answer(text, cited_by(marks), answer.raw, moved(marks, (0, len(text))))
