"""One question and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag.pipeline import Depths
from rag.types import Response


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may change: `collections` None searches in all; `attached` names files of one conversation, which
    are searched too."""

    retriever: str = "hybrid"
    depths: Depths = field(default_factory=Depths)
    strictness: float | None = None
    collections: tuple[str, ...] | None = None
    attached: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what came of it so far. `searched_for` is the rewritten question where it differs; `refused`
    says that the question itself was at fault; `attached` names the conversation's own files that were searched;
    `narrowed` says that not all documents were."""

    question: str
    searched_for: str = ""
    response: Response | None = None
    status: str = ""
    error: str = ""
    done: bool = False
    stopped: bool = False
    refused: bool = False
    attached: str = ""
    narrowed: bool = False


def settle(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with a last one that was stopped in the middle marked as such."""
    if not turns or turns[-1].done:
        return list(turns)
    return [*turns[:-1], dataclasses.replace(turns[-1], status="", done=True, stopped=True)]


def was_answered(turn: Turn) -> bool:
    return turn.done and not turn.stopped and turn.response is not None and turn.response.answer is not None
