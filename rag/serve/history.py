"""Conversations that outlive the page: kept in SQLite, each person's their own, with what they thought of the answers.

What was marked good or bad can be written as training questions in the course layout (`export_feedback`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.documents.citation import NOT_IN_DOCUMENTS, place_of
from rag.errors import DataError
from rag.files import json_line, write_whole
from rag.serve.turns import Turn
from rag.types import CANNOTANSWER, Answer, Hit, Passage, Place, Query, Response

SCHEMA_VERSION = 2
MAX_TITLE_CHARACTERS = 80
FEEDBACK_START = b'{"qid": "chat_'

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
    """A conversation in the list: its id, title, and when it was last added to (UTC, ISO 8601)."""

    id: str
    title: str
    updated: str


class History:
    """The store of conversations. Every method takes the person that they are of; nobody reaches another's."""

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
        """Store the turns that are done, under a new id where `conversation` is empty; returns the id.

        `attached` names the conversation's own files.
        """
        done = [turn for turn in turns if turn.done]
        if not done:
            return conversation
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._open() as database:
            if not conversation or not self._is_of(database, person, conversation):
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
                    (conversation, number, turn.question, _body(turn)),
                )
            database.execute("DELETE FROM turns WHERE conversation = ? AND number > ?", (conversation, len(done)))
            database.execute(
                "UPDATE conversations SET updated = ?, attached = CASE WHEN ? <> '' THEN ? ELSE attached END "
                "WHERE id = ?",
                (now, attached, attached, conversation),
            )
        return conversation

    def list(self, person: str, words: str = "", limit: int = 200) -> list[Kept]:
        """Conversations that hold every one of `words` in their title, questions or answers; the latest first."""
        with self._open() as database:
            rows = database.execute(
                "SELECT id, title, updated FROM conversations WHERE person = ? ORDER BY updated DESC, rowid DESC",
                (person,),
            ).fetchall()
            found = []
            for row in rows:
                if len(found) == limit:
                    break
                if not words or self._holds(database, row, words.lower().split()):
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
        return [_turn(question, json.loads(body), attached) for question, body in rows]

    def attach(self, person: str, conversation: str, attached: str) -> None:
        """Remember under which name a conversation's own files are."""
        with self._open() as database:
            database.execute(
                "UPDATE conversations SET attached = ? WHERE id = ? AND person = ?", (attached, conversation, person)
            )

    def attached(self, person: str, conversation: str) -> str:
        """The name of a conversation's own files, "" where it has none or is not this person's."""
        with self._open() as database:
            query = "SELECT attached FROM conversations WHERE id = ? AND person = ?"
            row = database.execute(query, (conversation, person)).fetchone()
        return row[0] if row else ""

    def every_attached(self) -> set[str]:
        """The names of the files of all conversations, everybody's."""
        with self._open() as database:
            return {name for (name,) in database.execute("SELECT attached FROM conversations WHERE attached <> ''")}

    def rename(self, person: str, conversation: str, title: str) -> None:
        title = " ".join(title.split())[:MAX_TITLE_CHARACTERS]
        if title:
            with self._open() as database:
                database.execute(
                    "UPDATE conversations SET title = ? WHERE id = ? AND person = ?", (title, conversation, person)
                )

    def delete(self, person: str, conversation: str) -> None:
        with self._open() as database:
            database.execute("DELETE FROM conversations WHERE id = ? AND person = ?", (conversation, person))

    def judge(self, person: str, conversation: str, number: int, liked: bool | None, reason: str = "") -> None:
        """Remember what someone thought of the answer of turn `number` (from 1); None takes it back."""
        with self._open() as database:
            if self._is_of(database, person, conversation):
                database.execute(
                    "UPDATE turns SET liked = ?, reason = ? WHERE conversation = ? AND number = ?",
                    (None if liked is None else int(liked), reason.strip()[:2000], conversation, number),
                )

    def judgements(self, person: str, conversation: str) -> list[str | None]:
        """For each turn `Like`, the reason of a dislike (`Dislike` where none was given), or None."""
        with self._open() as database:
            if not self._is_of(database, person, conversation):
                return []
            rows = database.execute(
                "SELECT liked, reason FROM turns WHERE conversation = ? ORDER BY number", (conversation,)
            ).fetchall()
        return [None if liked is None else "Like" if liked else reason or "Dislike" for liked, reason in rows]

    def feedback(self) -> Iterator[dict]:
        """Every judged answer of everybody as a training question in the course layout.

        Conversations with files of their own are left out: theirs are not the documents that everybody searches. A
        liked answer's cited passages are labelled 1, the others shown with it 0; those of a disliked answer are all
        labelled 0. `liked` and `reason` stand beside them; people do not.
        """
        with self._open() as database:
            rows = database.execute(
                "SELECT conversation, number, question, body, liked, reason FROM turns "
                "JOIN conversations ON conversations.id = conversation "
                "WHERE liked IS NOT NULL AND attached = '' ORDER BY conversation, number"
            ).fetchall()
        for conversation, number, question, raw, liked, reason in rows:
            body = json.loads(raw)
            cited = set(body["citations"]) if liked else set()
            # What one collection does not answer, another may: no question to learn refusing from.
            is_partial = body.get("narrowed") and body["answer"] == CANNOTANSWER
            has_answer = liked and body["answer"] and not is_partial
            yield {
                "qid": f"chat_{conversation}_{number}",
                "question": question,
                "rewrite": body["searched_for"] or question,
                **({"answer": {"text": body["answer"], "aliases": []}} if has_answer else {}),
                "evidences": [hit["text"] for hit in body["contexts"]],
                "retrieval_labels": [int(hit["id"] in cited) for hit in body["contexts"]],
                "source": "feedback",
                "liked": bool(liked),
                "reason": reason,
            }

    def _is_of(self, database: sqlite3.Connection, person: str, conversation: str) -> bool:
        query = "SELECT 1 FROM conversations WHERE id = ? AND person = ?"
        return database.execute(query, (conversation, person)).fetchone() is not None

    def _holds(self, database: sqlite3.Connection, row: tuple, words: Sequence[str]) -> bool:
        turns = database.execute("SELECT question, body FROM turns WHERE conversation = ?", (row[0],)).fetchall()
        texts = [row[1], *(f"{question} {json.loads(body)['answer'] or ''}" for question, body in turns)]
        text = " ".join(texts).lower()
        return all(word in text for word in words)

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


def export_feedback(history: History, output: str | Path) -> int:
    """Write every judged answer as JSON lines that `rag train` and `rag mine` read; returns how many.

    A file that holds anything but earlier feedback is left as it is (DataError).
    """
    path = Path(output)
    if path.is_file() and not all(line.startswith(FEEDBACK_START) for line in path.read_bytes().splitlines()):
        raise DataError(f"{path} holds something else than feedback; name another file with -o")
    rows = list(history.feedback())
    write_whole(path, b"".join(json_line(row) for row in rows))
    return len(rows)


def as_markdown(title: str, turns: Sequence[Turn]) -> str:
    """A conversation with its sources, to keep or to send."""
    lines = [f"# {_line(title)}", ""]
    for turn in turns:
        lines += [f"**{_line(turn.question)}**", ""]
        if turn.searched_for:
            lines += [f"*searched for: {_line(turn.searched_for)}*", ""]
        if turn.error:
            lines += [f"({_line(turn.error)})", ""]
        if turn.response is None or turn.response.answer is None:
            continue
        answer, contexts = turn.response.answer, turn.response.contexts
        numbers = {hit.passage.id: number for number, hit in enumerate(contexts, 1)}
        marks = "".join(f" [{numbers[pid]}]" for pid in answer.citations if pid in numbers)
        lines += [NOT_IN_DOCUMENTS if answer.abstained else _escaped(answer.text) + marks, ""]
        for number, hit in enumerate(contexts, 1):
            if hit.passage.id in answer.citations:
                quote = "\n".join(f"    > {_escaped(line)}" for line in hit.passage.text.splitlines())
                lines += [f"- [{number}] {_line(hit.passage.title)} ({_line(place_of(hit.passage))})", "", quote, ""]
    return "\n".join(lines)


def _line(text: str) -> str:
    return _escaped(" ".join(text.split()))


def _escaped(text: str) -> str:
    """Text that Markdown gives no meaning to."""
    return "".join(f"\\{ch}" if ch in "\\`*_{}[]<>#|!" else ch for ch in text)


def _body(turn: Turn) -> str:
    response = turn.response
    answer = response.answer if response else None
    return json.dumps(
        {
            "searched_for": turn.searched_for,
            "error": turn.error,
            "stopped": turn.stopped,
            "narrowed": turn.narrowed,
            "answer": answer.text if answer else None,
            "citations": list(answer.citations) if answer else [],
            "contexts": [_hit(hit) for hit in (response.contexts or response.reranked[:3])] if response else [],
            "shown": bool(response and response.contexts),
        }
    )


def _hit(hit: Hit) -> dict:
    passage = dataclasses.asdict(hit.passage)
    return {**passage, "score": hit.score}


def _turn(question: str, body: dict, attached: str) -> Turn:
    hits = tuple(
        Hit(
            Passage(h["id"], h["text"], h["title"], h["source"], Place(**h["place"]) if h["place"] else None),
            h["score"],
        )
        for h in body["contexts"]
    )
    response = None
    if body["answer"] is not None or hits:
        answer = Answer(body["answer"] or CANNOTANSWER, tuple(body["citations"])) if body["answer"] else None
        query = Query("chat", body["searched_for"] or question)
        response = Response(query, reranked=hits, contexts=hits if body["shown"] else (), answer=answer)
    return Turn(
        question,
        body["searched_for"],
        response,
        error=body["error"],
        done=True,
        stopped=body["stopped"],
        attached=attached,
        narrowed=body.get("narrowed", False),
    )
