"""Conversations that outlive the page: kept in SQLite, each person's own, with what people thought of the answers."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from rag.files import is_read_only
from rag.progress import say
from rag.serve.history_store import BESIDE, DamagedStore, HistoryStore
from rag.serve.kept import Judged, Kept
from rag.serve.stored_turns import searched_words, turn_body, turn_of
from rag.serve.turns import Turn, settle
from rag.serve.working_turns import MAX_TITLE_CHARACTERS, WorkingTurns, is_of, new_conversation, now, sweep_deleted

__all__ = ["DamagedStore", "History", "history_path", "open_history"]

MAX_REASON_CHARACTERS = 2000
_HOLDS_EVERY_WORD = (
    "NOT EXISTS (SELECT 1 FROM json_each(?) AS word WHERE instr(searched_words(title), word.value) = 0 "
    "AND NOT EXISTS (SELECT 1 FROM turns WHERE conversation = conversations.id AND instr(words, word.value) > 0))"
)
"""Each word of a JSON list stands in the title or in some turn."""


class History(WorkingTurns):
    """The store of conversations. A person reaches only their own: each method that takes a person checks it.

    Every method raises DataError where the file cannot be read or written now, DamagedStore where it is damaged.
    """

    def __init__(self, path: str | Path):
        super().__init__(HistoryStore(path))
        self.path = self._store.path
        self.sweep()

    def keep(self, person: str, conversation: str, turns: Sequence[Turn], attached: str = "") -> str:
        """Store a conversation whole, the turns that are done; returns its id, a new one where it is not this person's.

        `attached` is the key of the conversation's own files; "" leaves it as it was. A judgement goes where the answer
        has changed. A blank question is not kept.
        """
        done = [turn for turn in turns if turn.done and turn.question.strip()]
        if not done:
            return conversation
        with self._store.open(writing=True) as database:
            if not conversation or not is_of(database, person, conversation):
                conversation = new_conversation(database, person, done[0].question, attached)
            for number, turn in enumerate(done, 1):
                database.execute(
                    "INSERT INTO turns (conversation, number, question, body, words) "
                    "VALUES (?1, ?2, ?3, ?4, searched_words(?3, ?4)) ON CONFLICT DO UPDATE SET "
                    "question = excluded.question, body = excluded.body, words = excluded.words, work = '', "
                    "liked = CASE WHEN body = excluded.body THEN liked END, "
                    "reason = CASE WHEN body = excluded.body THEN reason ELSE '' END",
                    (conversation, number, turn.question, turn_body(turn)),
                )
            database.execute("DELETE FROM turns WHERE conversation = ? AND number > ?", (conversation, len(done)))
            database.execute(
                "UPDATE conversations SET updated = ?, deleted = '', "
                "attached = CASE WHEN ? <> '' THEN ? ELSE attached END WHERE id = ?",
                (now(), attached, attached, conversation),
            )
        return conversation

    def find(
        self, person: str, words: str = "", limit: int = 200, *, offset: int = 0, deleted: bool = False
    ) -> list[Kept]:
        """Conversations that hold every one of `words` in their title, questions or answers; the latest first.

        At most `limit`, after the first `offset`. With `deleted` those that were deleted and can be restored, else the
        others.
        """
        wanted = json.dumps([searched_words(word).strip() for word in words.split()])
        with self._store.open() as database:
            rows = database.execute(
                "SELECT id, title, updated, (SELECT count(*) FROM turns WHERE conversation = id), deleted "
                f"FROM conversations WHERE person = ? AND deleted {'<>' if deleted else '='} '' "
                f"AND {_HOLDS_EVERY_WORD} ORDER BY updated DESC, rowid DESC LIMIT ? OFFSET ?",
                (person, wanted, limit, offset),
            )
            return [Kept(*row) for row in rows]

    def load(self, person: str, conversation: str) -> list[Turn]:
        """The turns of a conversation; [] where it is deleted, or not this person's."""
        opened = self.open(person, conversation)
        return [settle([kept.turn])[0] for kept in opened.turns] if opened else []

    def attach(self, person: str, conversation: str, attached: str) -> None:
        """Remember the key of a conversation's own files."""
        self._change(person, conversation, "attached = ?", attached)

    def attached(self, person: str, conversation: str) -> str:
        """The key of a conversation's own files; "" where it has none or is not this person's."""
        with self._store.open() as database:
            query = "SELECT attached FROM conversations WHERE id = ? AND person = ?"
            row = database.execute(query, (conversation, person)).fetchone()
        return row[0] if row else ""

    def keeper_of(self, attached: str) -> str | None:
        """Whose conversation these files belong to, by their key; None where no conversation has them."""
        with self._store.open() as database:
            row = database.execute("SELECT person FROM conversations WHERE attached = ?", (attached,)).fetchone()
        return row[0] if row else None

    def every_attached(self) -> set[str]:
        """The keys of the files of all conversations, everybody's, with those whose deletion can be undone."""
        with self._store.open() as database:
            return {key for (key,) in database.execute("SELECT attached FROM conversations WHERE attached <> ''")}

    def rename(self, person: str, conversation: str, title: str) -> None:
        """Give a conversation another title; a blank one changes nothing."""
        title = " ".join(title.split())[:MAX_TITLE_CHARACTERS]
        if title:
            self._change(person, conversation, "title = ?", title)

    def discard(self, person: str, conversation: str) -> bool:
        """Delete a conversation so that `restore` can undo it for some days; whether there was one to delete."""
        self.sweep()
        return self._change(person, conversation, "deleted = CASE WHEN deleted = '' THEN ? ELSE deleted END", now())

    def restore(self, person: str, conversation: str) -> bool:
        """Undo `discard`; whether the conversation is there again."""
        return self._change(person, conversation, "deleted = ?", "")

    def delete(self, person: str, conversation: str) -> None:
        """Delete a conversation with its turns and judgements, for good."""
        with self._store.open() as database:
            database.execute("DELETE FROM conversations WHERE id = ? AND person = ?", (conversation, person))

    def erase(self, person: str) -> list[str]:
        """Delete everything of a person, for good; returns the keys of the files of their conversations."""
        with self._store.open(writing=True) as database:
            query = "SELECT attached FROM conversations WHERE person = ? AND attached <> ''"
            keys = [key for (key,) in database.execute(query, (person,))]
            database.execute("DELETE FROM conversations WHERE person = ?", (person,))
        with self._store.open() as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing of them stays in the file beside, either
        return keys

    def sweep(self) -> None:
        """Delete for good what was deleted longer ago than it can be undone."""
        with self._store.open() as database:
            sweep_deleted(database)

    def judge(self, person: str, conversation: str, number: int, liked: bool | None, reason: str = "") -> bool:
        """Remember what the person thought of the answer of turn `number` (from 1); None takes a judgement back.

        Returns whether there is such a turn.
        """
        with self._store.open(writing=True) as database:
            if not is_of(database, person, conversation):
                return False
            changed = database.execute(
                "UPDATE turns SET liked = ?, reason = ? WHERE conversation = ? AND number = ?",
                (liked, reason.strip()[:MAX_REASON_CHARACTERS], conversation, number),
            )
            return bool(changed.rowcount)

    def judgements(self, person: str, conversation: str) -> list[str | None]:
        """For each turn `Like`, the reason of a dislike (`Dislike` where none was given), or None."""
        opened = self.open(person, conversation)
        words = {1: "Like", None: None}
        return [words.get(kept.feedback, kept.reason or "Dislike") for kept in opened.turns] if opened else []

    def judged(self) -> list[Judged]:
        """Every judged answer of everybody, except in conversations that are deleted or have files of their own."""
        return [
            Judged(conversation, number, turn_of(question, body, ""), bool(liked), reason)
            for conversation, number, question, body, liked, reason in self._turns_for_training("liked IS NOT NULL")
        ]

    def unjudged(self) -> list[tuple[str, int, Turn]]:
        """(conversation, number, turn) of every answer of everybody that nobody judged; the same are left out."""
        return [
            (conversation, number, turn_of(question, body, ""))
            for conversation, number, question, body, _, _ in self._turns_for_training("liked IS NULL")
        ]

    def _turns_for_training(self, which: str) -> list[tuple]:
        with self._store.open() as database:
            return database.execute(
                "SELECT conversation, number, question, body, liked, reason FROM turns "
                "JOIN conversations ON conversations.id = conversation "
                f"WHERE {which} AND attached = '' AND deleted = '' ORDER BY conversation, number"
            ).fetchall()

    def _change(self, person: str, conversation: str, change: str, value: str) -> bool:
        """Set one column of a conversation; whether it is this person's."""
        with self._store.open() as database:
            where = f"UPDATE conversations SET {change} WHERE id = ? AND person = ?"
            return bool(database.execute(where, (value, conversation, person)).rowcount)


def open_history(path: Path) -> History | None:
    """The store of conversations in a file; None, which it says, where nothing can be written there.

    A damaged file is kept under another name, which it says, too, and a new store takes its place.
    """
    try:
        return _opened(path)
    except OSError as error:
        if not is_read_only(error):
            raise
        say(f"conversations are not kept: {path.parent} cannot be written ({error.strerror}); set RAG_HOME elsewhere")
        return None


def _opened(path: Path) -> History:
    try:
        return History(path)
    except DamagedStore as error:
        aside = path.with_name(f"{path.name}.damaged-{datetime.datetime.now():%Y%m%d-%H%M%S-%f}")
        for end in ("", *BESIDE):  # what SQLite has beside it belongs to it
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
        say(f"{error.what}; the conversations begin anew, and the damaged ones are kept in {aside}")
        return History(path)


def history_path(home: Path, index_folder: str | Path) -> Path:
    """Where the conversations over an index are kept: below the user's folder, a file for each index."""
    folder = Path(index_folder).resolve()
    return home / "conversations" / f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}.sqlite"
