"""Questions, from files in any of the known layouts."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.data.packed import or_packed, unpacked_suffix
from rag.data.rows import json_rows, line_error, numbered_lines, optional_text, parsed, rows_of, text_field
from rag.data.source import Source, source_of
from rag.data.tables import open_table, used_columns
from rag.errors import DataError
from rag.types import CANNOTANSWER, Query

NO_ANSWER = "No Answer Present."
"""What MS MARCO writes where no passage answers."""


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
    """How a file or table of questions is read, in words."""
    source = question_source(path)
    if source.is_table:
        return used_columns(source, ("question_id", "question", "rewrite", "answer"))
    if not holds_json(source.path):
        return "plain text, one question a line"
    row = next((row for _, row in json_rows(source.path)), {})
    return "BEIR's queries.jsonl" if "_id" in row and "qid" not in row else "JSON lines in the course layout"


def load_questions(path: str | Path | Source) -> list[Question]:
    """Questions from a course file, `queries.jsonl` of BEIR, plain text with one question a line, or a table.

    A file ending in .jsonl or .jsonl.gz, or whose first line begins with `{`, is read as JSON lines. Raises DataError
    naming file and line, and where there is no question. Tables and data sets of the hub: `rag.data.source`.
    """
    source = question_source(path)
    is_of_rows = source.is_table or holds_json(source.path)
    questions = list(_row_questions(source) if is_of_rows else _plain_questions(source.path))
    if not questions:
        holds = "it has no row" if source.is_table else "write one a line, or JSON objects with qid and question"
        raise DataError(f"{source} holds no question; {holds}")
    return questions


def question_source(path: str | Path | Source) -> Source:
    """The file or table of questions that is meant: of a folder in BEIR's layout, its file."""
    source = source_of(path)
    if source.is_table:
        return source
    file = or_packed(source.path)
    if file.is_dir() and (queries := or_packed(file / "queries.jsonl")).is_file():
        file = queries
    if not file.is_file():
        raise DataError(
            f"{file} does not exist or is not a file; name a file of questions, or a data set of the hub as owner/name"
        )
    return dataclasses.replace(source, where=str(file), kind="lines")


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


def numbered_questions(source: Source) -> Iterator[tuple[int, dict, Question]]:
    """(number, row, its question) of every row.

    A row of a table without ids is named `row-N`, by the first that asks the same. Raises DataError naming the row, and
    where a table lacks a column of questions.
    """
    has_ids = True
    if source.is_table:
        found = open_table(source).columns
        if source.holder("question", found) is None:
            otherwise = "; a file of one question a line ends in .txt" if source.kind == "csv" else ""
            raise source.lacks("the question", "question", found, otherwise)
        has_ids = source.holder("question_id", found) is not None
    by_text: dict[str, str] = {}
    for number, row in rows_of(source):
        known = text_field(row, source.names("question_id"), source, number) if has_ids else ""
        text = text_field(row, source.names("question"), source, number)
        qid = known or by_text.setdefault(text, f"row-{number}")
        rewrite = optional_text(row, source.names("rewrite")[0], source, number).strip() or text
        answer, aliases = _answer_of(row, source, number)
        name = source.names("source")[0]
        yield number, row, Question(qid, text, rewrite, answer, aliases, optional_text(row, name, source, number))


def _row_questions(source: Source) -> Iterator[Question]:
    """Each question once. In a table, rows of the same id and text are one question with several passages."""
    seen: dict[str, tuple[int, str]] = {}
    for number, _, question in numbered_questions(source):
        if question.id in seen:
            first, text = seen[question.id]
            if source.is_table and text == question.text:
                continue
            where = f"stands {'in row' if source.is_table else 'on line'} {first}"
            raise line_error(source, number, f"the question id {question.id!r} already {where}", "rename one")
        seen[question.id] = number, question.text
        yield question


def _answer_of(row: dict, source: Source, number: int) -> tuple[str | None, tuple[str, ...]]:
    """(the answer, others that count as right).

    What is merely called as answers often are, in a file whose lines may hold anything, is passed over where it is no
    answer.
    """
    name = next((name for name in source.names("answer") if row.get(name) is not None), "answer")
    is_certain = source.is_table or name == "answer" or "answer" in source.columns
    try:
        return _answer(row.get(name), name, source, number)
    except DataError:
        if is_certain:
            raise
        return None, ()


def _answer(value: object, name: str, source: Source, number: int) -> tuple[str | None, tuple[str, ...]]:
    """Of a text, a list of texts, {"text": …, "aliases": […]}, or SQuAD's {"text": […]}, where none is unanswerable."""
    if source.kind == "csv":
        value = parsed(value)
    if value is None or isinstance(value, str):
        return value, ()
    if isinstance(value, dict):
        text, aliases = value.get("text", value.get("value")), value.get("aliases") or []
        texts = text if isinstance(text, list) else [text]
        if isinstance(aliases, list) and all(isinstance(each, str) for each in [*texts, *aliases]):
            return (text, tuple(aliases)) if isinstance(text, str) else _first_of([*texts, *aliases], none=CANNOTANSWER)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return _first_of(value, none=None)
    raise line_error(source, number, f"the field {name!r} is not readable", 'write {"text": "…", "aliases": ["…"]}')


def _first_of(texts: Sequence[str], *, none: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The first answer, and the others."""
    known = [CANNOTANSWER if text == NO_ANSWER else text for text in texts]
    first, others = (known[0], known[1:]) if known else (none, [])
    return first, tuple(dict.fromkeys(text for text in others if text and text != first))


def _plain_questions(file: Path) -> Iterator[Question]:
    for line, text in numbered_lines(file):
        if text.strip():
            yield Question(f"line-{line}", text.strip(), text.strip())
