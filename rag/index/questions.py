"""Questions that were written about passages and are kept with an index, as further rows of their passages.

A question that somebody asks is often nearer to another question than to the passage that answers both: doc2query
(Nogueira et al. 2019, https://arxiv.org/abs/1904.08375). So the written ones are embedded beside the passages, as
windows are, and their words are counted by BM25 as the passage's own. Nobody is shown them as a part of a passage.

    INDEX/generation-…/questions.jsonl   a line for each passage that was asked about: a hash of it, its questions
    INDEX/building/questions.jsonl       the same while they are written, from which a killed build goes on

A passage that has not changed keeps its questions, whoever writes those of others now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.data.passages import Corpus
from rag.data.rows import json_rows
from rag.errors import ConfigError, DataError, IndexMismatchError
from rag.files import json_line, make_own_folder
from rag.generate.written import is_worth_asking, texts_about
from rag.index.folder import BUILDING
from rag.index.manifest import Manifest
from rag.index.parts import QUESTIONS, damage_to
from rag.lazy import Lazy
from rag.progress import say
from rag.resume import append_rows, read_jsonl, resume_jsonl
from rag.types import Generator, Passage

CHUNK_PASSAGES = 16
_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Asking:
    """How many questions are written about each passage, by what; None as `n` keeps what an index has.

    `known` are generations of other indexes whose questions about the same passages are taken over.
    """

    n: int | None = None
    generator: Lazy[Generator] | None = None
    known: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of asking `n` times about a passage."""

    n: int
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """Up to `n` questions about each passage, in the order of the passages; `n` 0 and none where none are wanted."""

    n: int = 0
    questions: Sequence[tuple[str, ...]] = ()

    @property
    def sha256(self) -> str:
        """A hash of the questions and of whose they are; "" where none are wanted."""
        if not self.n:
            return ""
        return hashlib.sha256(b"".join(json_line({"questions": own}) for own in self.questions)).hexdigest()

    def content(self, corpus: Corpus) -> bytes:
        """What the file of a generation holds."""
        rows = {
            _hash_of(passage): own
            for passage, own in zip(corpus, self.questions, strict=True)
            if is_worth_asking(passage)
        }
        return b"".join(_line(name, _Asked(self.n, own)) for name, own in rows.items())


def questions_beside(
    corpus: Corpus, target: Path, current: Path | None, own: Manifest | None, asking: Asking
) -> Beside:
    """The questions about the passages of an index; those that nobody knows yet are written now.

    `current` is the generation that serves, `own` its manifest. A kill costs the questions about CHUNK_PASSAGES
    passages at most. Raises ConfigError where questions are missing and nothing writes any.
    """
    n = (own.questions if own else 0) if asking.n is None else asking.n
    if not n:
        return Beside()
    known: dict[str, _Asked] = {}
    for generation in (*asking.known, current):
        known |= _known(generation)
    under_way = target / BUILDING / QUESTIONS
    if under_way.is_file():
        resume_jsonl(under_way, "passage")
        known |= _asked_of(read_jsonl(under_way))
    names = [_hash_of(passage) for passage in corpus]
    todo = {
        name: passage
        for name, passage in zip(names, corpus, strict=True)
        if (name not in known or known[name].n < n) and is_worth_asking(passage)
    }
    if todo:
        _write(todo, known, n, asking.generator, under_way)
        known |= _asked_of(read_jsonl(under_way))
    return Beside(n, [known[name].questions[:n] if name in known else () for name in names])


def read_beside(generation: Path, corpus: Corpus, n: int) -> Beside:
    """The questions that a generation holds; its file has been checked. Raises DataError where it is not readable."""
    if not n:
        return Beside()
    known = _asked_of(row for _, row in json_rows(generation / QUESTIONS)) if len(corpus) else {}
    nothing = _Asked(n, ())
    return Beside(n, [known.get(_hash_of(passage), nothing).questions for passage in corpus])


def _known(generation: Path | None) -> dict[str, _Asked]:
    """What a generation knows; nothing where there is none, or its file is damaged, which it says."""
    if generation is None or not (generation / QUESTIONS).is_file():
        return {}
    try:
        if damage := damage_to(generation, QUESTIONS, anew=False):
            raise DataError(damage)
        return _asked_of(row for _, row in json_rows(generation / QUESTIONS))
    except (DataError, IndexMismatchError, OSError) as error:
        say(f"questions are written anew: {error}")
        return {}


def _asked_of(rows: Iterable[Mapping]) -> dict[str, _Asked]:
    try:
        return {row["passage"]: _Asked(int(row["n"]), tuple(map(str, row["questions"]))) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{QUESTIONS} is damaged ({error})") from error


def _write(
    todo: Mapping[str, Passage],
    known: Mapping[str, _Asked],
    n: int,
    generator: Lazy[Generator] | None,
    under_way: Path,
) -> None:
    """Append the questions about passages by their hashes, beside those that are known of them."""
    if generator is None:
        raise ConfigError(
            f"{len(todo):,} passages have no questions, and no generator writes them here; use rag index or rag "
            "ingest, or --set index.questions=0"
        )
    make_own_folder(under_way.parent)
    nothing = _Asked(0, ())

    def rows(chunk: Sequence[str]) -> Iterable[dict]:
        before = [known.get(name, nothing).questions for name in chunk]
        found = texts_about([todo[name] for name in chunk], generator.get(), n, before)
        for name, questions in zip(chunk, found, strict=True):
            yield {"passage": name, "n": n, "questions": questions}

    n_done = len(read_jsonl(under_way))
    append_rows(
        under_way,
        list(todo),
        rows,
        label="Asking",
        n_done=n_done,
        chunk_size=CHUNK_PASSAGES,
        unit="passages",
    )
    generator.release()


def _line(name: str, asked: _Asked) -> bytes:
    return json_line({"passage": name, "n": asked.n, "questions": asked.questions})


def _hash_of(passage: Passage) -> str:
    """A hash of what a passage says, whatever its id."""
    text = f"{passage.title}\0{passage.text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=_HASH_BYTES).hexdigest()
