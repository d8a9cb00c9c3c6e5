"""What became of the chat's questions, for those who count them (`rag.serve.metrics`) or trace them.

Nothing of a question's or an answer's words is in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rag.errors import Left
from rag.serve.turns import Turn, was_answered
from rag.terminal import plain_logger
from rag.types import Response

Outcome = Literal["answered", "refused", "failed", "left", "rejected"]
OUTCOMES: tuple[Outcome, ...] = ("answered", "refused", "failed", "left", "rejected")
STAGES = ("retrieve", "rerank", "read", "excerpt", "generate", "check")
log = plain_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that ran: when it began, in seconds since 1970, and how long it took."""

    name: str
    began: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one question.

    `rejected`: the question itself was at fault. `left`: nobody waited for the answer any more, or the chat ended.
    `refused_by` says of a refusal who refused: "search", which found too little, or the "model". `model` is the
    generator that was chosen, "" for the usual one. `began` is in seconds since 1970. `failure` is the class of the
    error.
    """

    outcome: Outcome
    model: str
    began: float
    seconds: float
    first_word_seconds: float | None = None
    stages: tuple[Stage, ...] = ()
    tokens: Mapping[str, int] = field(default_factory=dict)
    refused_by: Literal["", "search", "model"] = ""
    failure: str = ""


class Watcher(Protocol):
    """Is told of every question once it has ended, by the thread that answered it."""

    def saw(self, asked: Asked) -> None:
        """A question has ended."""
        ...


def watched(
    turns: Iterator[Turn], watchers: Sequence[Watcher], model: str, failures: Sequence[BaseException]
) -> Iterator[Turn]:
    """The same snapshots of a turn; at its end the watchers are told. `failures` holds what ended it early, if any."""
    began, started = time.time(), time.perf_counter()
    stages: list[Stage] = []
    turn: Turn | None = None
    first_word: float | None = None
    try:
        for turn in turns:
            seconds = time.perf_counter() - started
            if turn.response is not None:
                stages += _new_stages(turn.response, stages, began + seconds)
                if first_word is None and turn.response.answer is not None:
                    first_word = seconds
            yield turn
    finally:
        if (close := getattr(turns, "close", None)) is not None:
            close()
        outcome = _outcome(turn, failures)
        asked = Asked(
            outcome,
            model,
            began,
            time.perf_counter() - started,
            first_word,
            tuple(stages),
            _tokens(turn),
            _refused_by(turn) if outcome == "refused" else "",
            type(failures[0]).__name__ if failures and outcome == "failed" else "",
        )
        _tell(watchers, asked)


def _new_stages(response: Response, known: Sequence[Stage], now: float) -> list[Stage]:
    """The stages that a snapshot is the first to tell of, one after the other up to now.

    A stage that did not run took no time. The pipeline yields as soon as its stages are done.
    """
    names = {stage.name for stage in known}
    new = [(name, seconds) for name, seconds in response.timings.items() if name not in names and seconds > 0]
    began = now - sum(seconds for _, seconds in new)
    found = []
    for name, seconds in new:
        found.append(Stage(name, began, seconds))
        began += seconds
    return found


def _outcome(turn: Turn | None, failures: Sequence[BaseException]) -> Outcome:
    if any(isinstance(failure, Left) for failure in failures):
        return "left"
    if turn is None or not turn.done:  # whoever reads the snapshots has gone
        return "left"
    if turn.error:
        return "rejected" if turn.refused else "failed"
    is_refusal = turn.response is not None and turn.response.answer is not None and turn.response.answer.abstained
    return "refused" if is_refusal else "answered"


def _tokens(turn: Turn | None) -> Mapping[str, int]:
    return turn.response.tokens if turn is not None and was_answered(turn) and turn.response is not None else {}


def _refused_by(turn: Turn | None) -> Literal["search", "model"]:
    """Without contexts the generator was not asked."""
    return "model" if turn is not None and turn.response is not None and turn.response.contexts else "search"


def _tell(watchers: Sequence[Watcher], asked: Asked) -> None:
    for watcher in watchers:
        try:
            watcher.saw(asked)
        except Exception:  # whoever counts must not spoil the answer
            log.exception("a question could not be counted")
