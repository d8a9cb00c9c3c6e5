"""The SQLite file that conversations are kept in: its tables, how older ones become these, and how it is opened.

In every statement `searched_words` (`rag.serve.stored_turns`) gives what a title or a turn is found by.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rag import fixes
from rag.errors import DataError
from rag.private import keep_private, private_file, private_folder
from rag.serve.stored_turns import searched_words

SCHEMA_VERSION = 4
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite has beside the file belongs to it."""

_CUT_TURNS = """
CREATE TABLE cut_turns (
    conversation TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE, cut INTEGER NOT NULL, at TEXT NOT NULL,
    number INTEGER NOT NULL, question TEXT NOT NULL, body TEXT NOT NULL, liked INTEGER, reason TEXT NOT NULL,
    PRIMARY KEY (conversation, cut, number)
);
"""
_SCHEMA = f"""
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, person TEXT NOT NULL, title TEXT NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL,
    attached TEXT NOT NULL DEFAULT '', deleted TEXT NOT NULL DEFAULT ''
);
CREATE TABLE turns (
    conversation TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    question TEXT NOT NULL, body TEXT NOT NULL, liked INTEGER, reason TEXT NOT NULL DEFAULT '',
    work TEXT NOT NULL DEFAULT '', words TEXT NOT NULL DEFAULT '', PRIMARY KEY (conversation, number)
);
CREATE INDEX by_person ON conversations(person, updated);
{_CUT_TURNS}
"""
# `deleted` is when the person deleted a conversation, which may still be undone; `work` names the work on a turn that
# is not done; `words` is what a turn is found by, so that a search reads no JSON; `cut_turns` holds the turns that
# others took the place of.
_FROM_3_TO_4 = """
ALTER TABLE turns ADD COLUMN words TEXT NOT NULL DEFAULT '';
UPDATE turns SET words = searched_words(question, body);
"""
_FROM_2_TO_4 = f"""
ALTER TABLE conversations ADD COLUMN deleted TEXT NOT NULL DEFAULT '';
ALTER TABLE turns ADD COLUMN work TEXT NOT NULL DEFAULT '';
{_CUT_TURNS}
{_FROM_3_TO_4}
"""
_FROM_1_TO_4 = f"ALTER TABLE conversations ADD COLUMN attached TEXT NOT NULL DEFAULT ''; {_FROM_2_TO_4}"
SCRIPTS = {0: _SCHEMA, 1: _FROM_1_TO_4, 2: _FROM_2_TO_4, 3: _FROM_3_TO_4}
"""What brings a store of that version to the present one."""
_TABLES = {"conversations", "turns"}
_TABLES_BY_VERSION = {1: _TABLES, 2: _TABLES, 3: {*_TABLES, "cut_turns"}, SCHEMA_VERSION: {*_TABLES, "cut_turns"}}


class DamagedStore(DataError):
    """A file is no store of conversations, or damaged: `what` is wrong; the message names the command, too."""

    def __init__(self, what: str, path: Path):
        super().__init__(f"{what}; move it away: {fixes.set_aside(path)}")
        self.what = what


class HistoryStore:
    """The file, private to its owner, with the tables of today; older ones are brought up to date.

    Raises DamagedStore where it holds something else, DataError where a later version of this program wrote it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if self.path.is_dir():
            raise DamagedStore(f"{self.path} is a folder, and no store of conversations", self.path)
        private_folder(self.path.parent)
        private_file(self.path)
        for name in BESIDE:  # SQLite makes these with the permissions of the file itself
            keep_private(self.path.with_name(self.path.name + name))
        with self.open() as database:
            database.execute("BEGIN")  # one state, although another process may be making the tables
            (version,) = database.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if (version == 0 and tables) or not tables >= _TABLES_BY_VERSION.get(version, set()):
                raise sqlite3.DatabaseError("its tables are others")
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(" ".join(found.split()))
            database.commit()
            if version in SCRIPTS:
                _bring_up_to_date(database)
            elif version != SCHEMA_VERSION:
                raise DataError(
                    f"{self.path} was written by another version of this program; move it away: "
                    f"{fixes.set_aside(self.path)}"
                )

    @contextlib.contextmanager
    def open(self, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection of this thread, committed at the end, closed in any case.

        With `writing` nobody else writes from the beginning, so that what is read stays true until it is written.
        """
        try:
            database = sqlite3.connect(self.path, timeout=10)
        except sqlite3.Error as error:
            raise DataError(f"{self.path} cannot be opened ({error})") from error
        try:
            database.create_function("searched_words", -1, searched_words, deterministic=True)
            database.execute("PRAGMA foreign_keys=ON")
            database.execute("PRAGMA secure_delete=ON")  # what was deleted does not stay behind in the file
            with database:
                if writing:
                    database.execute("BEGIN IMMEDIATE")
                yield database
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_of_content(error):
                raise DataError(
                    f"{self.path} cannot be read or written now ({error}); see that its disk has room and that no "
                    "other program holds it, and try again"
                ) from error
            what = f"{self.path} is no store of conversations, or damaged ({error})"
            raise DamagedStore(what, self.path) from error
        finally:
            database.close()


def _bring_up_to_date(database: sqlite3.Connection) -> None:
    """Make the tables, or change them, all or nothing: whatever kills it, and if another process does the same."""
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("BEGIN IMMEDIATE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for statement in SCRIPTS.get(version, "").split(";"):
        database.execute(statement)
    database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _is_of_content(error: sqlite3.Error) -> bool:
    """Whether an error is about what the file holds, such as a table that is not there, and not about disk or locks."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF == sqlite3.SQLITE_ERROR
