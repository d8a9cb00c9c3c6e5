"""What a request to the page asks: the question, the conversation that it belongs to, and how to answer it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from rag.evidence import EvidenceThreshold, Threshold
from rag.pipeline import Depths
from rag.serve.chat import Chat
from rag.serve.page_parts import PageParts
from rag.serve.turns import Options

MOST_PASSAGES, MOST_SHOWN = 200, 10
MOST_COLLECTIONS = 1000
STRICTNESS = ("low", "normal", "high")
DETAIL = ("short", "detailed")
LOOKS = 6
"""How often a halving looks for the calibrated place on the scale of strictness: it is found to 1/64."""
_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the page sends it.

    `conversation` is "" for a new one. `from_turn` is the turn (from 1) that this question takes the place of, with all
    behind it; None asks the next one. `attached` is the key of files that were added before there was a conversation.
    """

    question: str
    conversation: str
    search_for: str
    from_turn: int | None
    attached: str
    chosen: Mapping[str, Any]
    model: str


def read_asked(body: Mapping[str, Any], parts: PageParts) -> Asked:
    """What the JSON of a request asks. Raises HTTPException (400) with a sentence for what it cannot mean."""
    chosen = body.get("options")
    if chosen is not None and not isinstance(chosen, dict):
        raise HTTPException(400, "options are an object.")
    chosen = chosen or {}
    from_turn = body.get("from_turn")
    if from_turn is not None and not (type(from_turn) is int and 0 < from_turn < 10**6):
        raise HTTPException(400, "from_turn is the number of a turn.")
    attached = _text(body, "attached")
    if attached and not _KEY.fullmatch(attached):
        raise HTTPException(400, "attached is no key of a conversation's files.")
    return Asked(
        _text(body, "question"),
        _text(body, "conversation"),
        _text(body, "search_for"),
        from_turn,
        attached,
        chosen,
        _model(chosen, parts),
    )


def options_of(asked: Asked, attached: str, person: str, parts: PageParts) -> Options:
    """The options of a person's question, in a conversation with these files of its own. Raises HTTPException (400).

    Only those collections are searched that the person may read.
    """
    chosen, chat, defaults = asked.chosen, parts.chat, parts.defaults
    expert = chosen.get("expert") or {}
    if not isinstance(expert, dict):
        raise HTTPException(400, "expert settings are an object.")
    return Options(
        _one_of(expert, "retriever", tuple(chat.retrievers)) or defaults.retriever,
        _depths(expert, defaults.depths),
        _strictness(chosen.get("strictness"), chat),
        _collections(chosen.get("collections"), person, parts),
        attached if chosen.get("own_files") is not False else "",
        model=asked.model,
        may_read=parts.readers.names(person),
        detail=_one_of(chosen, "detail", DETAIL),
    )


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise HTTPException(400, f"{name} is a text.")
    return value


def _model(chosen: Mapping[str, Any], parts: PageParts) -> str:
    names = [model.name for model in parts.models]
    name = chosen.get("model")
    if name in (None, ""):
        return ""
    if name not in names:
        raise HTTPException(400, "This model is not offered any more; choose another.")
    return str(name)


def _one_of(chosen: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = chosen.get(name)
    if value in (None, ""):
        return ""
    if value not in allowed:
        raise HTTPException(400, f"{name} is one of {', '.join(allowed)}.")
    return str(value)


def _depths(expert: Mapping[str, Any], defaults: Depths) -> Depths:
    """Not more passages are reranked than retrieved."""
    retrieve = _whole(expert, "retrieve", defaults.retrieve, MOST_PASSAGES)
    rerank = min(_whole(expert, "rerank", defaults.rerank, MOST_PASSAGES), retrieve)
    return Depths(retrieve, rerank, _whole(expert, "contexts", defaults.contexts, MOST_SHOWN))


def _whole(expert: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = expert.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= most:
        raise HTTPException(400, f"{name} is a number from 1 to {most}.")
    return int(value)


def _collections(value: Any, person: str, parts: PageParts) -> tuple[str, ...] | None:
    """The chosen collections that the person may read; None for all of these."""
    if value is None:
        return None
    there = parts.collections_of(person)
    if not isinstance(value, list) or len(value) > MOST_COLLECTIONS or not all(isinstance(name, str) for name in value):
        raise HTTPException(400, "collections are a list of names.")
    chosen = tuple(name for name in dict.fromkeys(value) if name in there)
    return None if there and set(chosen) == set(there) else chosen


def _strictness(value: Any, chat: Chat) -> float | None:
    """A strictness from 0 to 1, None as calibrated; the words mean halfway from there to either end."""
    if value in (None, "", "normal"):
        return None
    if value in STRICTNESS:
        place = calibrated_place(chat.threshold_at)
        return place / 2 if value == "low" else (1 + place) / 2
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise HTTPException(400, "strictness is low, normal, high, or a number from 0 to 1.")
    return float(value)


def calibrated_place(threshold_at: Any) -> float:
    """Where on the scale of strictness, from 0 to 1, the calibrated threshold lies; 0 where nothing is refused."""
    calibrated = _value(threshold_at(None))
    if calibrated is None:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(LOOKS):
        middle = (low + high) / 2
        value = _value(threshold_at(middle))
        if value is None or value < calibrated:
            low = middle
        else:
            high = middle
    return high


def _value(threshold: Threshold | None) -> float | None:
    return threshold.value if isinstance(threshold, EvidenceThreshold) else threshold
