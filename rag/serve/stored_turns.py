"""A turn of a conversation as it is stored: JSON beside its question."""

from __future__ import annotations

import dataclasses
import json

from rag.serve.turns import Turn
from rag.types import Answer, Hit, Passage, Place, Query, ReadSpan, Response, Support


def turn_body(turn: Turn) -> str:
    """A turn as it is stored beside its question; `shown` says that the contexts were shown to the generator."""
    response = turn.response
    answer = response.answer if response else None
    return json.dumps(
        {
            "searched_for": turn.searched_for,
            "error": turn.error,
            "stopped": turn.stopped,
            "narrowed": turn.narrowed,
            "answer": answer.text if answer else None,
            "citations": list(answer.citations) if answer else [],
            # Only where there are any: a turn of an older version stays as it is stored, and keeps its judgement.
            **({"marks": answer.marks} if answer and answer.marks else {}),
            **({"support": dataclasses.asdict(response.support)} if response and response.support else {}),
            "contexts": _hits(response) if response else [],
            "shown": bool(response and response.contexts),
        }
    )


def _hits(response: Response) -> list[dict]:
    """The passages that are shown with a turn, each with its score, and with the span that a reader saw in it."""
    rows = []
    for hit in response.contexts or response.reranked[:3]:
        span = response.spans.get(hit.passage.id)
        # Like marks: only where there is one.
        read = {"span": dataclasses.asdict(span)} if span else {}
        rows.append({**dataclasses.asdict(hit.passage), "score": hit.score, **read})
    return rows


def stored_turn(question: str, body: dict, attached: str) -> Turn:
    """A stored turn; the key of the conversation's own files comes from the conversation."""
    hits = tuple(_stored_hit(stored) for stored in body["contexts"])
    response = None
    if body["answer"] is not None or hits:
        marks = tuple((offset, tuple(cited)) for offset, cited in body.get("marks", ()))
        answer = Answer(body["answer"], tuple(body["citations"]), marks=marks) if body["answer"] else None
        query = Query("chat", body["searched_for"] or question)
        spans = {stored["id"]: ReadSpan(**stored["span"]) for stored in body["contexts"] if "span" in stored}
        shown = hits if body["shown"] else ()
        support = _stored_support(body["support"]) if "support" in body else None
        response = Response(query, reranked=hits, contexts=shown, answer=answer, spans=spans, support=support)
    return Turn(
        question,
        body["searched_for"],
        response,
        error=body["error"],
        done=True,
        stopped=body["stopped"],
        attached=attached,
        narrowed=body.get("narrowed", False),  # turns that older versions stored do not have it
    )


def _stored_support(stored: dict) -> Support:
    return Support(tuple(stored["word_for_word"]), stored["logit"], stored["agreement"])


def _stored_hit(stored: dict) -> Hit:
    place = Place(**stored["place"]) if stored["place"] else None
    return Hit(Passage(stored["id"], stored["text"], stored["title"], stored["source"], place), stored["score"])
