"""Conversations that outlive the page: kept in SQLite, each person's own, with what people thought of the answers."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import DataError
from rag.serve.stored_turns import stored_turn, turn_body
from rag.serve.turns import Turn

SCHEMA_VERSION = 2
MAX_TITLE_CHARACTERS = 80
MAX_REASON_CHARACTERS = 2000

_SCHEMA = """
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, person TEXT NOT NULL, title TEXT NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL,
    attached TEXT NOT NULL DEFAULT ''
);
CREATE TABLE turns (
    conversation TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    question TEXT NOT NULL, body TEXT NOT NULL, liked INTEGER, reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (conversation, number)
);
CREATE INDEX by_person ON conversations(person, updated);
"""
_FROM_1_TO_2 = "ALTER TABLE conversations ADD COLUMN attached TEXT NOT NULL DEFAULT '';"


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation in the list: its id, title, and when it last grew (UTC, ISO 8601)."""

    id: str
    title: str
    updated: str


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


class History:
    """The store of conversations. A person reaches only their own: each method that takes a person checks it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                database.executescript(f"PRAGMA journal_mode=WAL; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION};")
            elif version == 1:
                database.executescript(f"BEGIN; {_FROM_1_TO_2} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            elif version != SCHEMA_VERSION:
                raise DataError(f"{self.path} was written by another version of this program; move it away")

    def keep(self, person: str, conversation: str, turns: Sequence[Turn], attached: str = "") -> str:
        """Store the turns that are done; returns the conversation's id, a new one where it is not this person's.

        `attached` is the key of the conversation's own files; "" leaves it as it was. A judgement goes where the answer
        has changed.
        """
        done = [turn for turn in turns if turn.done]
        if not done:
            return conversation
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._open() as database:
            if not conversation or not _is_of(database, person, conversation):
                conversation = uuid.uuid4().hex
                title = " ".join(done[0].question.split())[:MAX_TITLE_CHARACTERS]
                row = (conversation, person, title, now, now, attached)
                database.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?)", row)
            for number, turn in enumerate(done, 1):
                database.execute(
                    "INSERT INTO turns (conversation, number, question, body) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET question = excluded.question, body = excluded.body, "
                    "liked = CASE WHEN body = excluded.body THEN liked END, "
                    "reason = CASE WHEN body = excluded.body THEN reason ELSE '' END",
                    (conversation, number, turn.question, turn_body(turn)),
                )
            database.execute("DELETE FROM turns WHERE conversation = ? AND number > ?", (conversation, len(done)))
            database.execute(
                "UPDATE conversations SET updated = ?, attached = CASE WHEN ? <> '' THEN ? ELSE attached END "
                "WHERE id = ?",
                (now, attached, attached, conversation),
            )
        return conversation

    def find(self, person: str, words: str = "", limit: int = 200) -> list[Kept]:
        """Conversations that hold every one of `words` in their title, questions or answers; the latest first."""
        with self._open() as database:
            rows = database.execute(
                "SELECT id, title, updated FROM conversations WHERE person = ? ORDER BY updated DESC, rowid DESC",
                (person,),
            ).fetchall()
            found: list[Kept] = []
            for row in rows:
                if len(found) == limit:
                    break
                if not words or _holds(database, row, words.lower().split()):
                    found.append(Kept(*row))
        return found

    def load(self, person: str, conversation: str) -> list[Turn]:
        """The turns of a conversation; [] where it is not this person's."""
        attached = self.attached(person, conversation)
        with self._open() as database:
            rows = database.execute(
                "SELECT question, body FROM turns JOIN conversations ON conversations.id = conversation "
                "WHERE conversation = ? AND person = ? ORDER BY number",
                (conversation, person),
            ).fetchall()
        return [stored_turn(question, json.loads(body), attached) for question, body in rows]

    def attach(self, person: str, conversation: str, attached: str) -> None:
        """Remember the key of a conversation's own files."""
        with self._open() as database:
            database.execute(
                "UPDATE conversations SET attached = ? WHERE id = ? AND person = ?", (attached, conversation, person)
            )

    def attached(self, person: str, conversation: str) -> str:
        """The key of a conversation's own files; "" where it has none or is not this person's."""
        with self._open() as database:
            query = "SELECT attached FROM conversations WHERE id = ? AND person = ?"
            row = database.execute(query, (conversation, person)).fetchone()
        return row[0] if row else ""

    def every_attached(self) -> set[str]:
        """The keys of the files of all conversations, everybody's."""
        with self._open() as database:
            return {key for (key,) in database.execute("SELECT attached FROM conversations WHERE attached <> ''")}

    def rename(self, person: str, conversation: str, title: str) -> None:
        """Give a conversation another title; a blank one changes nothing."""
        title = " ".join(title.split())[:MAX_TITLE_CHARACTERS]
        if title:
            with self._open() as database:
                database.execute(
                    "UPDATE conversations SET title = ? WHERE id = ? AND person = ?", (title, conversation, person)
                )

    def delete(self, person: str, conversation: str) -> None:
        """Delete a conversation with its turns and judgements."""
        with self._open() as database:
            database.execute("DELETE FROM conversations WHERE id = ? AND person = ?", (conversation, person))

    def judge(self, person: str, conversation: str, number: int, liked: bool | None, reason: str = "") -> None:
        """Remember what the person thought of the answer of turn `number` (from 1); None takes a judgement back."""
        with self._open() as database:
            if _is_of(database, person, conversation):
                database.execute(
                    "UPDATE turns SET liked = ?, reason = ? WHERE conversation = ? AND number = ?",
                    (liked, reason.strip()[:MAX_REASON_CHARACTERS], conversation, number),
                )

    def judgements(self, person: str, conversation: str) -> list[str | None]:
        """For each turn `Like`, the reason of a dislike (`Dislike` where none was given), or None."""
        with self._open() as database:
            if not _is_of(database, person, conversation):
                return []
            rows = database.execute(
                "SELECT liked, reason FROM turns WHERE conversation = ? ORDER BY number", (conversation,)
            ).fetchall()
        return [_judgement(liked, reason) for liked, reason in rows]

    def judged(self) -> list[Judged]:
        """Every judged answer of everybody, except in conversations with files of their own."""
        with self._open() as database:
            rows = database.execute(
                "SELECT conversation, number, question, body, liked, reason FROM turns "
                "JOIN conversations ON conversations.id = conversation "
                "WHERE liked IS NOT NULL AND attached = '' ORDER BY conversation, number"
            ).fetchall()
        return [
            Judged(conversation, number, stored_turn(question, json.loads(body), ""), bool(liked), reason)
            for conversation, number, question, body, liked, reason in rows
        ]

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of this thread, committed at the end, closed in any case."""
        try:
            database = sqlite3.connect(self.path, timeout=10)
        except sqlite3.Error as error:
            raise DataError(f"{self.path} cannot be opened ({error})") from error
        try:
            database.execute("PRAGMA foreign_keys=ON")
            with database:
                yield database
        except sqlite3.OperationalError as error:
            raise DataError(
                f"{self.path} cannot be read or written now ({error}); see that its disk has room and that no other "
                "program holds it, and try again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is no store of conversations, or damaged ({error}); move it away") from error
        finally:
            database.close()


def history_path(home: Path, index_folder: str | Path) -> Path:
    """Where the conversations over an index are kept: below the user's folder, a file for each index."""
    folder = Path(index_folder).resolve()
    return home / "conversations" / f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}.sqlite"


def _is_of(database: sqlite3.Connection, person: str, conversation: str) -> bool:
    query = "SELECT 1 FROM conversations WHERE id = ? AND person = ?"
    return database.execute(query, (conversation, person)).fetchone() is not None


def _holds(database: sqlite3.Connection, row: tuple, words: Sequence[str]) -> bool:
    """Whether title, questions and answers of a conversation hold every word; these are in lower case."""
    turns = database.execute("SELECT question, body FROM turns WHERE conversation = ?", (row[0],)).fetchall()
    texts = [row[1], *(f"{question} {json.loads(body)['answer'] or ''}" for question, body in turns)]
    text = " ".join(texts).lower()
    return all(word in text for word in words)


def _judgement(liked: int | None, reason: str) -> str | None:
    if liked is None:
        return None
    return "Like" if liked else reason or "Dislike"
