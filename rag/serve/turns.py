"""A conversation as its turns: what was asked, by which options, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from rag.errors import DataError
from rag.pipeline import Depths
from rag.types import Answer, Response


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer a question, as far as a person may choose.

    `strictness` None means as calibrated. `collections` None searches all documents. `attached` is the key of a
    conversation's own files, which are searched too; "" for none. `model` is the generator that answers, by the name
    that it is offered by; "" for the usual one. `may_read` are the collections that the person may read; None for all.
    `detail` is `short` or `detailed`; "" as the generator's prompt has it.
    """

    retriever: str = "hybrid"
    depths: Depths = field(default_factory=Depths)
    strictness: float | None = None
    collections: tuple[str, ...] | None = None
    attached: str = ""
    model: str = ""
    may_read: tuple[str, ...] | None = None
    detail: str = ""

    @property
    def searched(self) -> tuple[str, ...] | None:
        """The collections to search in: of those that were chosen, what the person may read. None for all.

        Raises DataError for one that they may not read, as for one that is not there.
        """
        if self.may_read is None or self.collections is None:
            return self.may_read if self.collections is None else self.collections
        for name in self.collections:
            if name not in self.may_read:
                raise no_collection(name, self.may_read)
        return self.collections


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what has come of it so far.

    `searched_for` is the rewritten question, "" where it is the same. `refused` says that the question itself was at
    fault. `attached` is the key of the conversation's own files that were searched; `narrowed` says that not all
    documents were.
    """

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


def no_collection(name: str, known: Collection[str]) -> DataError:
    """The error for a collection that is not among those that are known, whether it is there or not."""
    return DataError(f"there is no collection {name!r}; choose among {', '.join(known) or 'none'}")


def settle(turns: Sequence[Turn]) -> list[Turn]:
    """The turns, the last one marked as stopped where it is not done."""
    if not turns or turns[-1].done:
        return list(turns)
    return [*turns[:-1], dataclasses.replace(turns[-1], status="", done=True, stopped=True)]


def was_answered(turn: Turn) -> bool:
    """Whether the turn ended with an answer, which a refusal is too."""
    return turn.done and not turn.stopped and turn.response is not None and turn.response.answer is not None


def outcome(turn: Turn) -> tuple[Response, Answer]:
    """The response and the answer of a turn that ended without an error."""
    assert turn.response is not None
    assert turn.response.answer is not None
    return turn.response, turn.response.answer
