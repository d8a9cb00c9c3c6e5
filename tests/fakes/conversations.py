"""Turns of a conversation, and stores of them as older versions of the program made them."""

import contextlib
import sqlite3

from rag.serve.stored_turns import turn_body
from rag.serve.turns import Turn
from rag.types import Answer, Hit, Passage, Place, Query, Response

HITS = (
    Hit(Passage("a@0", "The ferry leaves at noon.", "Ferry", "m/a.pdf", Place(3, 28, 2)), 4.5),
    Hit(Passage("b@0", "Dogs are <b>free</b>.", "Dogs"), 1.0),
)


def turn(question, text="at noon", citations=("a@0",), **more):
    answer = Answer(text, citations, "raw")
    return Turn(question, response=Response(Query("chat", question), (), HITS, HITS, answer), done=True, **more)


_CONVERSATION = "id TEXT PRIMARY KEY, person TEXT NOT NULL, title TEXT NOT NULL, created TEXT NOT NULL"
_TURN = "number INTEGER NOT NULL, question TEXT NOT NULL, body TEXT NOT NULL, liked INTEGER, reason TEXT NOT NULL"


def old_store(path, version, turns=()):
    """Make the store that version 1, 2 or 3 made, private, with one conversation of Ada's, `k`; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        attached = ", attached TEXT NOT NULL DEFAULT ''" if version >= 2 else ""
        database.execute(f"CREATE TABLE conversations ({_CONVERSATION}, updated TEXT NOT NULL{attached})")
        database.execute(
            "CREATE TABLE turns (conversation TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE, "
            f"{_TURN} DEFAULT '', PRIMARY KEY (conversation, number))"
        )
        database.execute("CREATE INDEX by_person ON conversations(person, updated)")
        if version == 3:
            database.execute("ALTER TABLE conversations ADD COLUMN deleted TEXT NOT NULL DEFAULT ''")
            database.execute("ALTER TABLE turns ADD COLUMN work TEXT NOT NULL DEFAULT ''")
            database.execute(
                "CREATE TABLE cut_turns (conversation TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE, "
                f"cut INTEGER NOT NULL, at TEXT NOT NULL, {_TURN}, PRIMARY KEY (conversation, cut, number))"
            )
        at = "2025-03-04T05:06:07+00:00"
        if turns:
            row = ("k", "ada", turns[0].question, at, at)
            database.execute(
                "INSERT INTO conversations (id, person, title, created, updated) VALUES (?, ?, ?, ?, ?)", row
            )
        for number, one in enumerate(turns, 1):
            row = ("k", number, one.question, turn_body(one), 1 if number == 1 else None, "")
            columns = "conversation, number, question, body, liked, reason"
            database.execute(f"INSERT INTO turns ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
        database.execute(f"PRAGMA user_version={version}")
    return path
