"""Turns that are being answered, and turns that others took the place of.

The page keeps a turn from the moment it begins; these are methods of `rag.serve.history.History`:

    begin(person, conversation, question, from_turn=…) → Begun   the turn stands in the store, as working
    grow(begun, turn) → bool                                     what there is so far; False: it was taken away
    finish(begun, turn) → bool                                   how it ended; one that is not done is stopped
    uncut(person, conversation) → int                            undo `from_turn`: the turns before it come back
    open(person, conversation) → Conversation | None             everything that the page shows of it
"""

from __future__ import annotations

import datetime
import sqlite3
import time
import uuid

from rag.errors import DataError
from rag.serve.history_store import HistoryStore
from rag.serve.kept import Begun, Conversation, KeptTurn
from rag.serve.stored_turns import About, about_of, turn_body, turn_of
from rag.serve.turns import Turn, settle
from rag.terminal import plain_logger

MAX_TITLE_CHARACTERS = 80
MAX_QUESTION_CHARACTERS = 2000
MAX_CUTS = 50
UNDO_DAYS = 7
"""How long a deletion, of a conversation or of turns, can be undone."""
SECONDS_BETWEEN_WRITES = 1.0

log = plain_logger(__name__)


class WorkingTurns:
    """The part of the store that the page asks by: `rag.serve.history.History`."""

    def __init__(self, store: HistoryStore):
        self._store = store
        self._written: dict[str, float] = {}  # when each work that goes on here was last written

    def begin(
        self,
        person: str,
        conversation: str,
        question: str,
        *,
        from_turn: int | None = None,
        attached: str = "",
        about: About | None = None,
    ) -> Begun:
        """Keep a turn from now on, as one that is being answered: the next one, or in the place of `from_turn`.

        A conversation that is not this person's, as "", becomes a new one, whose title is the question; one that they
        deleted is there again. Turns from `from_turn` on are set aside for `uncut`. `attached` is the key of the
        conversation's own files, "" leaves it as it was. Raises DataError for a blank question, which is never kept.
        """
        if not question.strip():
            raise DataError("Type a question first.")
        work = uuid.uuid4().hex
        self._written[work] = time.monotonic()
        try:
            with self._store.open(writing=True) as database:
                if not conversation or not is_of(database, person, conversation):
                    conversation = new_conversation(database, person, question, attached)
                return _begin(database, conversation, question.strip(), work, from_turn, attached, about or {})
        except BaseException:
            del self._written[work]
            raise

    def grow(self, begun: Begun, turn: Turn, about: About | None = None) -> bool:
        """Keep what a turn has come to, at most once a second; call it for every snapshot.

        False where the turn was taken away meanwhile (cut, or deleted for good): nobody waits for its answer. A store
        that cannot be written now is said in the log, and the answer may go on.
        """
        at = time.monotonic()
        if at - self._written.get(begun.work, 0.0) < SECONDS_BETWEEN_WRITES:
            return True
        self._written[begun.work] = at
        try:
            with self._store.open(writing=True) as database:
                return _write(database, begun, turn, about or {}, ends=False)
        except DataError as error:
            log.warning("%s", error)
            return True

    def finish(self, begun: Begun, turn: Turn, about: About | None = None) -> bool:
        """Keep how a turn ended; one that is not done was stopped. Call it in any case, once.

        `about` is kept beside it, as `model` and `seconds`. False where the turn was taken away meanwhile.
        """
        try:
            with self._store.open(writing=True) as database:
                return _write(database, begun, settle([turn])[0], about or {}, ends=True)
        finally:
            self._written.pop(begun.work, None)

    def uncut(self, person: str, conversation: str) -> int:
        """Bring back the turns that the last `from_turn` set aside; returns how many.

        They take the place of what stands there, also of what is being answered. 0 where there are none, or the
        conversation is not this person's.
        """
        with self._store.open(writing=True) as database:
            return _uncut(database, conversation) if is_of(database, person, conversation) else 0

    def open(self, person: str, conversation: str) -> Conversation | None:
        """A conversation with everything that the page shows of it; None where it is deleted, or not this person's.

        A turn that nobody works on any more, since the process that did ended, is stopped.
        """
        with self._store.open() as database:
            database.execute("BEGIN")  # one state
            row = database.execute(
                "SELECT id, title, updated, attached, (SELECT count(*) FROM cut_turns AS c WHERE c.conversation = id "
                "AND cut = (SELECT max(cut) FROM cut_turns AS d WHERE d.conversation = id)) "
                "FROM conversations WHERE id = ? AND person = ? AND deleted = ''",
                (conversation, person),
            ).fetchone()
            if row is None:
                return None
            rows = database.execute(
                "SELECT number, question, body, liked, reason, work FROM turns WHERE conversation = ? ORDER BY number",
                (conversation,),
            ).fetchall()
        key, title, updated, attached, n_cut = row
        turns = tuple(self._kept_turn(turn, attached) for turn in rows)
        return Conversation(key, title, updated, turns, attached, n_cut)

    def _kept_turn(self, row: tuple, attached: str) -> KeptTurn:
        number, question, body, liked, reason, work = row
        turn = turn_of(question, body, attached)
        if work not in self._written:
            turn = settle([turn])[0]
        return KeptTurn(number, turn, None if liked is None else (1 if liked else -1), reason, about_of(body))


def now() -> str:
    """The time as it is stored: UTC, ISO 8601, which sorts as text, also among times without fractions."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def title_of(question: str) -> str:
    """The title of a conversation that begins with this question."""
    return " ".join(question.split())[:MAX_TITLE_CHARACTERS]


def is_of(database: sqlite3.Connection, person: str, conversation: str) -> bool:
    """Whether the conversation is this person's, deleted or not."""
    query = "SELECT 1 FROM conversations WHERE id = ? AND person = ?"
    return database.execute(query, (conversation, person)).fetchone() is not None


def new_conversation(database: sqlite3.Connection, person: str, question: str, attached: str) -> str:
    """Begin a conversation with this question; returns its id."""
    conversation, at = uuid.uuid4().hex, now()
    database.execute(
        "INSERT INTO conversations (id, person, title, created, updated, attached) VALUES (?, ?, ?, ?, ?, ?)",
        (conversation, person, title_of(question), at, at, attached),
    )
    return conversation


def _begin(
    database: sqlite3.Connection,
    conversation: str,
    question: str,
    work: str,
    from_turn: int | None,
    attached: str,
    about: About,
) -> Begun:
    question = question[:MAX_QUESTION_CHARACTERS]
    (last,) = database.execute(
        "SELECT coalesce(max(number), 0) FROM turns WHERE conversation = ?", (conversation,)
    ).fetchone()
    number = min(max(from_turn or last + 1, 1), last + 1)
    if number == 1:
        _follow_title(database, conversation, question)
    n_cut = _cut(database, conversation, number)
    database.execute(
        "INSERT INTO turns (conversation, number, question, body, work, words) "
        "VALUES (?1, ?2, ?3, ?4, ?5, searched_words(?3, ?4))",
        (conversation, number, question, turn_body(Turn(question), about), work),
    )
    database.execute(
        "UPDATE conversations SET updated = ?, deleted = '', attached = CASE WHEN ? <> '' THEN ? ELSE attached END "
        "WHERE id = ?",
        (now(), attached, attached, conversation),
    )
    query = "SELECT title, attached FROM conversations WHERE id = ?"
    title, attached = database.execute(query, (conversation,)).fetchone()
    rows = database.execute(
        "SELECT question, body FROM turns WHERE conversation = ? AND number < ? ORDER BY number", (conversation, number)
    ).fetchall()
    before = tuple(settle([turn_of(asked, body, attached)])[0] for asked, body in rows)
    return Begun(conversation, title, number, work, before, n_cut, attached)


def _write(database: sqlite3.Connection, begun: Begun, turn: Turn, about: About, *, ends: bool) -> bool:
    """Write what a turn has come to; False where the turn is no longer this work's, and nothing was written."""
    where = (begun.conversation, begun.number, begun.work)
    changed = database.execute(
        "UPDATE turns SET question = ?1, body = ?2, words = searched_words(?1, ?2), "
        "work = CASE WHEN ?3 THEN '' ELSE work END WHERE conversation = ?4 AND number = ?5 AND work = ?6",
        (turn.question[:MAX_QUESTION_CHARACTERS], turn_body(turn, about), ends, *where),
    ).rowcount
    if changed and ends:
        database.execute("UPDATE conversations SET updated = ? WHERE id = ?", (now(), begun.conversation))
    return bool(changed)


def _follow_title(database: sqlite3.Connection, conversation: str, question: str) -> None:
    """Let the title follow the first question, which becomes this one, unless the person gave another title."""
    query = (
        "SELECT title, question FROM conversations JOIN turns ON conversation = id AND number = 1 "
        "WHERE conversations.id = ?"
    )
    row = database.execute(query, (conversation,)).fetchone()
    if row and row[0] == title_of(row[1]):
        database.execute("UPDATE conversations SET title = ? WHERE id = ?", (title_of(question), conversation))


def _cut(database: sqlite3.Connection, conversation: str, number: int) -> int:
    """Set the turns from `number` on aside, where `uncut` finds them; returns how many there were."""
    (last,) = database.execute(
        "SELECT coalesce(max(cut), 0) FROM cut_turns WHERE conversation = ?", (conversation,)
    ).fetchone()
    n = database.execute(
        "INSERT INTO cut_turns (conversation, cut, at, number, question, body, liked, reason) "
        "SELECT conversation, ?, ?, number, question, body, liked, reason FROM turns "
        "WHERE conversation = ? AND number >= ?",
        (last + 1, now(), conversation, number),
    ).rowcount
    database.execute("DELETE FROM turns WHERE conversation = ? AND number >= ?", (conversation, number))
    database.execute("DELETE FROM cut_turns WHERE conversation = ? AND cut <= ?", (conversation, last + 1 - MAX_CUTS))
    return n


def _uncut(database: sqlite3.Connection, conversation: str) -> int:
    """Bring back the turns that were set aside last, in the place of what stands there; returns how many."""
    query = "SELECT cut, min(number) FROM cut_turns WHERE conversation = ? GROUP BY cut ORDER BY cut DESC LIMIT 1"
    row = database.execute(query, (conversation,)).fetchone()
    if row is None:
        return 0
    latest, number = row
    if number == 1:
        (question,) = database.execute(
            "SELECT question FROM cut_turns WHERE conversation = ? AND cut = ? AND number = 1", (conversation, latest)
        ).fetchone()
        _follow_title(database, conversation, question)
    database.execute("DELETE FROM turns WHERE conversation = ? AND number >= ?", (conversation, number))
    n = database.execute(
        "INSERT INTO turns (conversation, number, question, body, liked, reason, words) "
        "SELECT conversation, number, question, body, liked, reason, searched_words(question, body) FROM cut_turns "
        "WHERE conversation = ? AND cut = ?",
        (conversation, latest),
    ).rowcount
    database.execute("DELETE FROM cut_turns WHERE conversation = ? AND cut = ?", (conversation, latest))
    database.execute("UPDATE conversations SET updated = ? WHERE id = ?", (now(), conversation))
    return n


def sweep_deleted(database: sqlite3.Connection) -> None:
    """Delete for good what was deleted, or cut, longer ago than it can be undone."""
    old = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=UNDO_DAYS)).isoformat(timespec="seconds")
    database.execute("DELETE FROM conversations WHERE deleted <> '' AND deleted < ?", (old,))
    database.execute("DELETE FROM cut_turns WHERE at < ?", (old,))
