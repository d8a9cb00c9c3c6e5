"""A turn of a conversation as it is stored: JSON beside its question."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from rag.serve.turns import Turn
from rag.types import Answer, Hit, Passage, Place, Query, ReadSpan, Response, Support

About = Mapping[str, str | int | float]
"""What is kept of a turn besides: `model` that answered, `seconds` that it took, and the like."""


def turn_body(turn: Turn, about: About | None = None) -> str:
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
            # A turn that is not done says how far it is, for whoever looks at it from elsewhere.
            **({} if turn.done else {"status": turn.status}),
            **({"about": dict(about)} if about else {}),
        }
    )


def _hits(response: Response) -> list[dict]:
    """The passages that are shown with a turn, each with its score, and with the span that a reader saw in it."""
    rows = []
    for hit in response.contexts or response.reranked[:3]:
        span = response.spans.get(hit.passage.id)
        excerpt = response.excerpts.get(hit.passage.id)
        # Like marks: only where there is one.
        read = {"span": dataclasses.asdict(span)} if span else {}
        shown = {"excerpt": excerpt} if excerpt else {}
        rows.append({**dataclasses.asdict(hit.passage), "score": hit.evidence, **read, **shown})
    return rows


DAMAGED = "This turn is damaged in the store of conversations, and cannot be shown."


def turn_of(question: str, body: str, attached: str) -> Turn:
    """A stored turn by its JSON; one that says so where that is damaged."""
    try:
        return stored_turn(question, json.loads(body), attached)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Turn(question, error=DAMAGED, done=True, attached=attached)


def about_of(body: str) -> dict[str, str | int | float]:
    """What is kept of a turn besides, {} where there is nothing or it is damaged."""
    try:
        about = json.loads(body)["about"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return {k: v for k, v in about.items() if isinstance(v, str | int | float)} if isinstance(about, dict) else {}


def answer_in(body: str) -> str:
    """The text of the answer in a turn's JSON, "" where there is none or it is damaged."""
    try:
        answer = json.loads(body)["answer"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return answer if isinstance(answer, str) else ""


def searched_words(title_or_question: object, body: str = "") -> str:
    """What a title, or a turn with its answer, is found by: one spelling of upper and lower case."""
    text = f"{title_or_question} {answer_in(body) if body else ''}".casefold()
    return text.encode("utf-8", "ignore").decode("utf-8")  # half a character, as a damaged answer may hold


def stored_turn(question: str, body: dict, attached: str) -> Turn:
    """A stored turn, not done where its work had not ended; the key of the files comes from the conversation."""
    hits = tuple(_stored_hit(stored) for stored in body["contexts"])
    response = None
    if body["answer"] is not None or hits:
        marks = tuple((offset, tuple(cited)) for offset, cited in body.get("marks", ()))
        answer = Answer(body["answer"], tuple(body["citations"]), marks=marks) if body["answer"] else None
        query = Query("chat", body["searched_for"] or question)
        spans = {stored["id"]: ReadSpan(**stored["span"]) for stored in body["contexts"] if "span" in stored}
        excerpts = {
            stored["id"]: tuple((start, end) for start, end in stored["excerpt"])
            for stored in body["contexts"]
            if "excerpt" in stored
        }
        shown = hits if body["shown"] else ()
        support = _stored_support(body["support"]) if "support" in body else None
        response = Response(
            query, reranked=hits, contexts=shown, answer=answer, spans=spans, excerpts=excerpts, support=support
        )
    return Turn(
        question,
        body["searched_for"],
        response,
        status=str(body.get("status", "")),
        error=body["error"],
        done="status" not in body,
        stopped=body["stopped"],
        attached=attached,
        narrowed=body.get("narrowed", False),  # turns that older versions stored do not have it
    )


def _stored_support(stored: dict) -> Support:
    return Support(tuple(stored["word_for_word"]), stored["logit"], stored["agreement"])


def _stored_hit(stored: dict) -> Hit:
    place = Place(**stored["place"]) if stored["place"] else None
    return Hit(Passage(stored["id"], stored["text"], stored["title"], stored["source"], place), stored["score"])
