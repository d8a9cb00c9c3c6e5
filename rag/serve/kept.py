"""What the store of conversations hands out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rag.serve.stored_turns import About
from rag.serve.turns import Turn


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn that is being answered: turn `number` (from 1) of a conversation.

    `work` names this work on it, so that nobody else's answer comes into the same place. `before` are the turns before
    it, as `Chat.ask` takes them. `n_cut` turns went for it, which `History.uncut` brings back. `attached` is the key of
    the conversation's own files, "" for none.
    """

    conversation: str
    title: str
    number: int
    work: str
    before: tuple[Turn, ...] = ()
    n_cut: int = 0
    attached: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation in the list: its id, title, when it last grew (UTC, ISO 8601), and how many turns it has.

    `deleted` is when the person deleted it, "" for one that is there.
    """

    id: str
    title: str
    updated: str
    n_turns: int = 0
    deleted: str = ""


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """Turn `number` (from 1) as the page shows it; one that is being answered now is not `done`.

    `feedback` is 1 for a liked answer, -1 for a disliked one, with its `reason`; None where it was not judged. `about`
    is what `finish` was given.
    """

    number: int
    turn: Turn
    feedback: int | None = None
    reason: str = ""
    about: About = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation with its turns. `attached` is the key of its own files; `n_cut` turns `uncut` would bring back."""

    id: str
    title: str
    updated: str
    turns: tuple[KeptTurn, ...]
    attached: str = ""
    n_cut: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer that was judged: turn `number` (from 1) of the conversation `id`; `reason` is "" where none was given.

    The turn's contexts are the passages shown with it; for a refusal by score these are its `reranked` passages.
    """

    id: str
    number: int
    turn: Turn
    liked: bool
    reason: str
