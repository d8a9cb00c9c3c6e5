"""Questions that can be asked, for the page's first view: the chat's own generator writes them about some passages.

Where the index holds questions beside its passages, they are these. Otherwise they are written once the page is first
opened and the chat is ready, while nobody waits for an answer, and kept in a file. Until then the titles of documents
stand in for them. A person is shown only those about passages that they may read.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.data.passages import Corpus
from rag.errors import RagError
from rag.files import json_if_sound
from rag.generate.written import MIN_PASSAGE_WORDS, parse_question, question_conversation
from rag.private import private_folder, write_private
from rag.progress import Waiting, working_for
from rag.scripts import count_words
from rag.serve.chat import Chat
from rag.serve.readers import Readers
from rag.terminal import plain_logger
from rag.types import Passage

SHOWN = 4
WRITTEN = 8
"""A person may not be allowed to read all of the passages."""
TRIES = 16
MAX_CHARACTERS = 120
MAX_TITLE_WORDS = 9
MIN_LETTERS = 0.7
SECONDS_BETWEEN_LOOKS = 1.0

log = plain_logger(__name__)


@dataclass(frozen=True, slots=True)
class Suggested:
    """A question, and the passage that answers it."""

    question: str
    passage: str


class Suggestions:
    """Questions about the passages that `corpus` gives, kept in `file`. With `given` these, and none are written.

    `beside` gives the questions that the index holds about each passage; nothing where it holds none.
    """

    def __init__(
        self,
        chat: Chat,
        corpus: Callable[[], Corpus],
        readers: Readers,
        file: Path,
        given: Sequence[str] = (),
        beside: Callable[[], Sequence[Sequence[str]]] = tuple,
    ):
        self._chat, self._corpus, self._readers, self._file = chat, corpus, readers, file
        self._given, self._beside = list(given), beside
        self._written = _read(file)
        self._is_final = bool(given)
        self._begun = False
        self._lock = threading.Lock()

    def __call__(self, person: str) -> list[str]:
        """Some questions for a person, as they are now. The first call begins to write what is missing."""
        if self._given:
            return self._given[:SHOWN]
        if not self._chat.ready:
            return []
        corpus = self._corpus()
        self._begin(corpus)
        there = [
            each.question
            for each in self._written
            if each.passage in corpus and self._readers.passage(person, corpus.by_id(each.passage)) is not None
        ]
        return there[:SHOWN] or self._of_titles(person, corpus)

    def are_final(self) -> bool:
        """Whether no more of them are being written."""
        return self._is_final

    def _begin(self, corpus: Corpus) -> None:
        with self._lock:
            if self._begun:
                return
            self._begun = True
        least = min(SHOWN, len(corpus))
        if len(own := self._of_index(corpus)) >= least:
            self._written, self._is_final = own, True
        elif sum(each.passage in corpus for each in self._written) >= least:
            self._is_final = True
        else:
            threading.Thread(target=self._write, args=(corpus,), daemon=True).start()

    def _of_index(self, corpus: Corpus) -> list[Suggested]:
        """Questions that the index holds about some passages of different documents; one about each."""
        found: dict[str, Suggested] = {}
        try:
            beside = self._beside()
        except RagError as error:
            log.warning("the questions of the index cannot be read: %s", error)
            return []
        if len(beside) != len(corpus):  # there are none, or documents came meanwhile
            return []
        for row in _worth_asking(corpus):
            short = [question for question in beside[row] if len(question) <= MAX_CHARACTERS]
            if short and len(found) < WRITTEN:
                found.setdefault(short[0].lower(), Suggested(short[0], corpus[row].id))
        return list(found.values())

    def _write(self, corpus: Corpus) -> None:
        try:
            found: list[Suggested] = []
            for row in _worth_asking(corpus):
                passage = corpus[row]
                question = self._written_about(passage)
                if question and question.lower() not in {each.question.lower() for each in found}:
                    found.append(Suggested(question, passage.id))
                    self._written = [*found]
                if len(found) == WRITTEN:
                    break
            _keep(self._file, found)
        except RagError as error:
            log.warning("no questions to begin with: %s", error)
        except Exception:
            log.exception("no questions to begin with")
        finally:
            self._is_final = True

    def _written_about(self, passage: Passage) -> str:
        """A question about a passage, "" for none; begun again whenever somebody asks meanwhile."""
        while not self._chat.is_closed:
            if self._chat.n_waiting:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            raw, waiting, is_interrupted = "", Waiting(), False
            with working_for(waiting), contextlib.closing(_stream(self._chat, passage)) as pieces:
                for piece in pieces:
                    raw += piece
                    is_interrupted = self._chat.n_waiting > 0
                    if is_interrupted or "?" in piece or len(raw) > 2 * MAX_CHARACTERS:
                        break
            if not is_interrupted:
                first = raw[: raw.find("?") + 1] or raw
                question = parse_question(first) if first.strip() else ""
                return question if len(question) <= MAX_CHARACTERS else ""
        return ""

    def _of_titles(self, person: str, corpus: Corpus) -> list[str]:
        """What the documents are about, by their titles; of a corpus file by the titles of its passages."""
        collections = self._readers.collections(person)
        found = [str(row.get("title") or "") for documents in collections.values() for row in documents]
        if not collections:
            shown = (self._readers.passage(person, corpus[number]) for number in _drawn(corpus))
            found = [passage.title for passage in shown if passage is not None]
        titles = dict.fromkeys(" ".join(title.split()) for title in found)
        named = [title for title in titles if 1 < len(title.split()) <= MAX_TITLE_WORDS and _is_prose(title)]
        return [f"What is “{title}” about?" for title in named[:SHOWN]]


def _stream(chat: Chat, passage: Passage) -> Generator[str, None, None]:
    yield from chat.generator.get().stream(question_conversation(passage))


def _worth_asking(corpus: Corpus) -> list[int]:
    """The rows of some passages of prose, of as many documents as possible."""
    seen: set[str] = set()
    first: list[int] = []
    others: list[int] = []
    for number in _drawn(corpus):
        passage = corpus[number]
        if count_words(passage.text) < MIN_PASSAGE_WORDS or not _is_prose(passage.text):
            continue
        (others if passage.document in seen else first).append(number)
        seen.add(passage.document)
    return [*first, *others][:TRIES]


def _drawn(corpus: Corpus) -> list[int]:
    """The positions of some passages, always the same."""
    return random.Random(0).sample(range(len(corpus)), min(len(corpus), 40 * TRIES))


def _is_prose(text: str) -> bool:
    """Whether most of the characters of a text, without its blanks, are letters."""
    shown = [ch for ch in text if not ch.isspace()]
    return sum(map(str.isalpha, shown)) >= MIN_LETTERS * max(len(shown), 1)


def _read(file: Path) -> list[Suggested]:
    """What was kept; [] where nothing was, or it is damaged."""
    rows = (json_if_sound(file) or {}).get("questions")
    found: list[Suggested] = []
    for row in rows if isinstance(rows, list) else []:
        question, passage = (row.get("question"), row.get("passage")) if isinstance(row, dict) else (None, None)
        if isinstance(question, str) and isinstance(passage, str):
            found.append(Suggested(question, passage))
    return found


def _keep(file: Path, found: Sequence[Suggested]) -> None:
    rows = [{"question": each.question, "passage": each.passage} for each in found]
    with contextlib.suppress(OSError):  # they are written anew next time
        private_folder(file.parent)
        write_private(file, json.dumps({"questions": rows}, ensure_ascii=False, indent=1) + "\n")
