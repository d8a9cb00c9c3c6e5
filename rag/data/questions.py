"""Questions, from files in any of the known layouts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.data.packed import or_packed, unpacked_suffix
from rag.data.rows import json_rows, line_error, numbered_lines, optional_text, text_field
from rag.errors import DataError
from rag.types import CANNOTANSWER, Query


@dataclass(frozen=True, slots=True)
class Question:
    """A question as typed, its standalone rewrite, and the reference answer where one is known.

    `aliases` are other answers that count as right; `source` is the data set that the question is from.
    """

    id: str
    text: str
    rewrite: str
    answer: str | None = None
    aliases: tuple[str, ...] = ()
    source: str = ""

    @property
    def query(self) -> Query:
        """What is searched for: the rewrite."""
        return Query(self.id, self.rewrite)


def holds_json(file: Path) -> bool:
    """Whether a file of questions holds JSON lines, by its suffix or its first line; else each line is a question."""
    first = next((text for _, text in numbered_lines(file) if text.strip()), "")
    return unpacked_suffix(file) == ".jsonl" or first.lstrip().startswith("{")


def question_format(path: str | Path) -> str:
    """How a file of questions is read, in words."""
    file = _file_of(path)
    if not holds_json(file):
        return "plain text, one question a line"
    row = next((row for _, row in json_rows(file)), {})
    return "BEIR's queries.jsonl" if "_id" in row and "qid" not in row else "JSON lines in the course layout"


def load_questions(path: str | Path) -> list[Question]:
    """Questions from a course file, `queries.jsonl` of BEIR, or plain text with one question a line.

    A file ending in .jsonl or .jsonl.gz, or whose first line begins with `{`, is read as JSON lines. Raises DataError
    naming file and line, and where there is no question.
    """
    file = _file_of(path)
    questions = list(_json_questions(file) if holds_json(file) else _plain_questions(file))
    if not questions:
        raise DataError(f"{file} holds no question; write one a line, or JSON objects with qid and question")
    return questions


def _file_of(path: str | Path) -> Path:
    """The file of questions that is meant: of a folder, BEIR's."""
    file = or_packed(Path(path))
    if file.is_dir() and (queries := or_packed(file / "queries.jsonl")).is_file():
        file = queries
    if not file.is_file():
        raise DataError(f"{file} does not exist or is not a file; name a file of questions")
    return file


def sample_questions(questions: Sequence[Question], n: int, seed: int = 0) -> list[Question]:
    """`n` questions, in which every source keeps its share, and within it the unanswerable ones theirs.

    All where there are fewer. Drawn at random with `seed`, returned in their original order.
    """
    if n >= len(questions):
        return list(questions)
    groups: dict[tuple, list[int]] = {}
    for row, question in enumerate(questions):
        groups.setdefault((question.source, question.answer == CANNOTANSWER), []).append(row)
    rng = random.Random(seed)
    exact = {key: n * len(rows) / len(questions) for key, rows in groups.items()}
    taken = {key: int(share) for key, share in exact.items()}
    # Rounding down leaves a few to give: one each to the groups that lost most by it.
    by_remainder = sorted(groups, key=lambda key: (taken[key] - exact[key], key))
    for key in by_remainder[: n - sum(taken.values())]:
        taken[key] += 1
    drawn = [row for key in sorted(groups) for row in rng.sample(groups[key], taken[key])]
    return [questions[row] for row in sorted(drawn)]


def _json_questions(file: Path) -> Iterator[Question]:
    seen: dict[str, int] = {}
    for line, row in json_rows(file):
        qid = text_field(row, ("qid", "_id", "id"), file, line)
        if qid in seen:
            raise line_error(file, line, f"the question id {qid!r} already stands on line {seen[qid]}", "rename one")
        seen[qid] = line
        text = text_field(row, ("question", "text", "rewrite"), file, line)
        rewrite = optional_text(row, "rewrite", file, line).strip() or text
        answer, aliases = _answer(row.get("answer"), file, line)
        yield Question(qid, text, rewrite, answer, aliases, optional_text(row, "source", file, line))


def _answer(value: object, file: Path, line: int) -> tuple[str | None, tuple[str, ...]]:
    if value is None:
        return None, ()
    if isinstance(value, str):
        return value, ()
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        aliases = value.get("aliases") or []
        if isinstance(aliases, list) and all(isinstance(alias, str) for alias in aliases):
            return value["text"], tuple(aliases)
    raise line_error(file, line, "the field 'answer' is not readable", 'write {"text": "…", "aliases": ["…"]}')


def _plain_questions(file: Path) -> Iterator[Question]:
    for line, text in numbered_lines(file):
        if text.strip():
            yield Question(f"line-{line}", text.strip(), text.strip())
