"""Corpora, questions and qrels: the course layout, the BEIR layout, plain text, and the embedded corpus.

Course layout: `corpus.txt` (JSON lines: id, text, title, source), `train.txt`, `dev.txt`, `test_open.txt`
(JSON lines: qid, question, rewrite, answer), `qrels.txt` (one JSON object: query id -> {passage id: relevance}).
BEIR layout: `corpus.jsonl` (_id, title, text), `queries.jsonl` (_id, text), `qrels/*.tsv`.
Every DataError names the file, the line, and what to do.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import DataError
from rag.types import CANNOTANSWER, Passage, Place, Qrels, Query

EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Question:
    """A question as typed, its standalone rewrite, and the reference answer where one is known."""

    id: str
    text: str
    rewrite: str
    answer: str | None = None
    aliases: tuple[str, ...] = ()
    source: str = ""

    @property
    def query(self) -> Query:
        return Query(self.id, self.rewrite)


class Corpus(Sequence[Passage]):
    """Passages in a fixed order: row numbers to passages, ids to rows."""

    def __init__(self, passages: Iterable[Passage]):
        self._passages = list(passages)
        self._rows = {passage.id: row for row, passage in enumerate(self._passages)}

    def __len__(self) -> int:
        return len(self._passages)

    def __getitem__(self, row):
        return self._passages[row]

    def __contains__(self, passage_id: object) -> bool:
        return passage_id in self._rows

    def by_id(self, passage_id: str) -> Passage:
        return self._passages[self._rows[passage_id]]

    def sha256(self) -> str:
        """A hash of every id, title, text, source and place, in order."""
        digest = hashlib.sha256()
        for p in self._passages:
            place = [f"{p.place.start} {p.place.end} {p.place.page}"] if p.place else []
            digest.update("\x1f".join((p.id, p.title, p.text, p.source, *place)).encode("utf-8", "surrogatepass"))
            digest.update(b"\x1e")
        return digest.hexdigest()


def load_corpus(path: str | Path) -> Corpus:
    """Passages from a file, a folder in course or BEIR layout, or the word `embedded`."""
    if str(path) == EMBEDDED:
        return embedded_corpus()
    file = corpus_file(path)
    passages: list[Passage] = []
    seen: dict[str, int] = {}
    for line, row in json_rows(file):
        passage_id = _text_field(row, ("id", "_id", "pid"), file, line)
        if passage_id in seen:
            raise line_error(
                file, line, f"the id {passage_id!r} already stands on line {seen[passage_id]}", "rename one"
            )
        seen[passage_id] = line
        text = _text_field(row, ("text",), file, line)
        title = _optional_text(row, "title", file, line)
        place = _place_of(row, file, line)
        passages.append(Passage(passage_id, text, title, _optional_text(row, "source", file, line), place))
    if not passages:
        raise DataError(f"{file} holds no passage; each line must be a JSON object with id and text")
    return Corpus(passages)


def corpus_file(path: str | Path) -> Path:
    """The file that holds the passages: `path` itself, or the corpus inside a folder of either layout."""
    path = Path(path)
    if path.is_dir():
        for name in ("corpus.txt", "corpus.jsonl"):
            if (path / name).is_file():
                return path / name
        raise DataError(
            f"{path} has neither corpus.txt nor corpus.jsonl; name the file that holds the passages, or take a folder "
            f"of documents in: rag ingest {path} -i INDEX"
        )
    if not path.is_file():
        raise DataError(f"{path} does not exist; name a corpus file, a folder that holds one, or '{EMBEDDED}'")
    return path


def holds_json(file: Path) -> bool:
    """Whether a file of questions holds JSON lines, by its ending or its first line; else a question stands on each."""
    first = next((text for _, text in _lines(file) if text.strip()), "")
    return file.suffix == ".jsonl" or first.lstrip().startswith("{")


def load_questions(path: str | Path) -> list[Question]:
    """Questions from a course file, `queries.jsonl` of BEIR, or plain text with one question a line.

    A file ending in .jsonl, or whose first line begins with `{`, is read as JSON lines.
    """
    file = Path(path)
    if file.is_dir() and (file / "queries.jsonl").is_file():
        file = file / "queries.jsonl"
    if not file.is_file():
        raise DataError(f"{file} does not exist or is not a file; name a file of questions")
    questions = list(_json_questions(file) if holds_json(file) else _plain_questions(file))
    if not questions:
        raise DataError(f"{file} holds no question; write one a line, or JSON objects with qid and question")
    return questions


def sample_questions(questions: Sequence[Question], n: int, seed: int = 0) -> list[Question]:
    """About `n` questions that keep the shares of every source, and within it of the unanswerable ones.

    Drawn at random with `seed`, returned in their original order.
    """
    if n >= len(questions):
        return list(questions)
    groups: dict[tuple, list[int]] = {}
    for row, question in enumerate(questions):
        groups.setdefault((question.source, question.answer == CANNOTANSWER), []).append(row)
    rng = random.Random(seed)
    exact = {key: n * len(rows) / len(questions) for key, rows in groups.items()}
    taken = {key: int(share) for key, share in exact.items()}
    by_remainder = sorted(groups, key=lambda key: (taken[key] - exact[key], key))
    for key in by_remainder[: n - sum(taken.values())]:
        taken[key] += 1
    return [
        questions[row] for row in sorted(row for key in sorted(groups) for row in rng.sample(groups[key], taken[key]))
    ]


def _json_questions(file: Path) -> Iterator[Question]:
    seen: dict[str, int] = {}
    for line, row in json_rows(file):
        qid = _text_field(row, ("qid", "_id", "id"), file, line)
        if qid in seen:
            raise line_error(file, line, f"the question id {qid!r} already stands on line {seen[qid]}", "rename one")
        seen[qid] = line
        text = _text_field(row, ("question", "text", "rewrite"), file, line)
        rewrite = _optional_text(row, "rewrite", file, line).strip() or text
        answer, aliases = _answer(row.get("answer"), file, line)
        yield Question(qid, text, rewrite, answer, aliases, _optional_text(row, "source", file, line))


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
    for line, text in _lines(file):
        if text.strip():
            yield Question(f"line-{line}", text.strip(), text.strip())


def load_qrels(path: str | Path) -> Qrels:
    """Relevance judgements: one JSON object, a TREC or BEIR file of columns, or a folder of BEIR's `qrels/*.tsv`."""
    merged: Qrels = {}
    for file in _qrels_files(Path(path)):
        qrels = _json_qrels(file) if _is_json_object(file) else _column_qrels(file)
        if not qrels:
            raise DataError(
                f"{file} holds no judgement; write {{qid: {{id: 1}}}}, or lines of query-id, passage-id, grade"
            )
        for qid, judged in qrels.items():
            merged.setdefault(qid, {}).update(judged)
    return merged


def _qrels_files(path: Path) -> list[Path]:
    if path.is_dir():
        folder = path / "qrels" if (path / "qrels").is_dir() else path
        files = [folder / "test.tsv"] if (folder / "test.tsv").is_file() else sorted(folder.glob("*.tsv"))
        if not files:
            raise DataError(f"{path} holds no qrels (*.tsv); name the file of judgements")
        return files
    if not path.is_file():
        raise DataError(f"{path} does not exist; name the file of relevance judgements")
    return [path]


def _is_json_object(file: Path) -> bool:
    return next((text for _, text in _lines(file) if text.strip()), "").lstrip().startswith("{")


def _json_qrels(file: Path) -> Qrels:
    text = _whole_text(file)
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise line_error(
            file, error.lineno, f"not valid JSON: {error.msg}", "write one object {qid: {id: 1}}"
        ) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond what Python reads
        raise line_error(file, 1, f"not valid JSON: {error}", "write one object {qid: {id: 1}}") from error
    qrels: Qrels = {}
    for start, qid, judged in _members(text):
        line = text.count("\n", 0, start) + 1
        if qid in qrels:
            raise line_error(file, line, f"the query {qid!r} stands twice", "join its judgements")
        if not isinstance(judged, dict) or not all(type(grade) is int for grade in judged.values()):
            raise line_error(file, line, f"the judgements of {qid!r} are not {{passage id: integer}}", "correct them")
        qrels[qid] = judged
    return qrels


def _whole_text(file: Path) -> str:
    return "".join(text + "\n" for _, text in _lines(file))


def _members(text: str) -> Iterator[tuple[int, str, object]]:
    """(offset, key, value) of every member of a valid JSON object; json.loads would keep the last of equal keys."""
    decoder, end = json.JSONDecoder(), text.index("{") + 1
    while text[start := re.compile(r"[\s,]*").match(text, end).end()] != "}":
        key, end = decoder.raw_decode(text, start)
        value, end = decoder.raw_decode(text, re.compile(r"\s*:\s*").match(text, end).end())
        yield start, key, value


def _column_qrels(file: Path) -> Qrels:
    qrels: Qrels = {}
    for line, qid, passage_id, grade in _judgements(file):
        if (known := qrels.setdefault(qid, {}).setdefault(passage_id, grade)) != grade:
            raise line_error(
                file, line, f"for query {qid!r} the passage {passage_id!r} already has the grade {known}", "delete one"
            )
    return qrels


def _judgements(file: Path) -> Iterator[tuple[int, str, str, int]]:
    """(line, query id, passage id, grade) in TREC columns (`qid 0 id grade`) or BEIR's (`query-id corpus-id score`,
    with a header), split by tab or space."""
    for line, text in _lines(file):
        if not text.strip():
            continue
        columns = next(csv.reader([text], delimiter="\t")) if "\t" in text else text.split()
        if line == 1 and columns[0] in ("query-id", "query_id", "qid"):
            continue
        if len(columns) == 4:
            columns = [columns[0], columns[2], columns[3]]
        try:
            qid, passage_id, grade = columns
            judgement = line, qid, passage_id, int(grade)
        except ValueError as error:
            raise line_error(
                file, line, f"not a judgement: {text[:80]!r}", "write: query-id, passage-id, integer"
            ) from error
        yield judgement


def check_qrels(qrels: Qrels, corpus: Corpus, path: str | Path) -> None:
    """Raise DataError where a judged passage is not in the corpus."""
    unknown = [(qid, pid) for qid, judged in qrels.items() for pid in judged if pid not in corpus]
    if not unknown:
        return
    qid, pid = unknown[0]
    file, line = _place(Path(path), qid, pid)
    raise line_error(
        file,
        line,
        f"query {qid!r} names passage {pid!r}, which is not in the corpus ({len(unknown)} such judgements)",
        "index the corpus that the judgements were made for, or pass --allow-unknown to count them as lost",
    )


def _place(path: Path, qid: str, passage_id: str) -> tuple[Path, int]:
    """The file and line of a judgement."""
    for file in _qrels_files(path):
        if not _is_json_object(file):
            lines = (line for line, *judged, _ in _judgements(file) if judged == [qid, passage_id])
        else:
            text = _whole_text(file)
            quoted = (json.dumps(passage_id), json.dumps(passage_id, ensure_ascii=False))
            starts = (start for start, key, judged in _members(text) if key == qid and passage_id in judged)
            lines = (text.count("\n", 0, max(text.find(q, start) for q in quoted)) + 1 for start in starts)
        if line := next(lines, None):
            return file, line
    return path, 1


def embedded_corpus(chunk_words: int = 120) -> Corpus:
    """Python's own language reference, which every CPython ships, in passages of about `chunk_words` words."""
    from pydoc_data.topics import topics

    passages = []
    for topic, text in sorted(topics.items()):
        title, body = _topic_title(topic, text)
        passages += [
            Passage(f"{topic}@{n}", chunk, title, "python") for n, chunk in enumerate(_chunks(body, chunk_words))
        ]
    return Corpus(passages)


def _topic_title(topic: str, text: str) -> tuple[str, str]:
    lines = text.strip().split("\n")
    if len(lines) > 1 and re.fullmatch(r"[*=\-~^]{3,}", lines[1].strip()):
        return lines[0].strip(), "\n".join(lines[2:]).strip()
    return topic, text.strip()


def _chunks(text: str, chunk_words: int) -> Iterator[str]:
    """Whole paragraphs gathered up to `chunk_words`; a heading opens a new chunk."""
    chunk: list[str] = []
    words = 0
    for paragraph in re.split(r"\n\s*\n", text):
        if not paragraph.strip():
            continue
        n = len(paragraph.split())
        is_heading = re.search(r"\n[*=\-~^]{3,}\s*$", paragraph) is not None
        if chunk and (words + n > chunk_words or is_heading):
            yield "\n\n".join(chunk)
            chunk, words = [], 0
        chunk.append(paragraph.rstrip())
        words += n
    if chunk:
        yield "\n\n".join(chunk)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of a UTF-8 file, a byte-order mark dropped; a wrong byte is an error with its line."""
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise line_error(
                    file, number, f"byte {error.start + 1} of the line is not UTF-8", "save the file as UTF-8"
                ) from error
            yield number, text.rstrip("\r\n")


def json_rows(file: Path) -> Iterator[tuple[int, dict]]:
    """(line number, object) of a file of JSON lines; raises DataError naming the line."""
    for line, text in _lines(file):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise line_error(
                file, line, f"not valid JSON: {error.msg} at column {error.colno}", "write one object a line"
            ) from error
        except (ValueError, RecursionError) as error:  # a number or a nesting beyond what Python reads
            raise line_error(file, line, f"not valid JSON: {error}", "write one object a line") from error
        if not isinstance(row, dict):
            raise line_error(file, line, f"a {type(row).__name__}, not a JSON object", "write one object a line")
        yield line, row


def _text_field(row: dict, names: tuple[str, ...], file: Path, line: int) -> str:
    for name in names:
        if name in row:
            value = row[name]
            if isinstance(value, int) and not isinstance(value, bool) and name != "text":
                value = str(value)
            if not isinstance(value, str):
                raise line_error(
                    file, line, f"the field {name!r} is a {type(value).__name__}, not text", "write a string"
                )
            if not value.strip():
                raise line_error(file, line, f"the field {name!r} is empty", "fill it in or delete the line")
            return value
    wanted = " or ".join(repr(name) for name in names)
    raise line_error(file, line, f"no field {wanted} (found: {', '.join(sorted(row)) or 'nothing'})", "add it")


def _optional_text(row: dict, name: str, file: Path, line: int) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise line_error(file, line, f"the field {name!r} is a {type(value).__name__}, not text", "write a string")
    return value


def _place_of(row: dict, file: Path, line: int) -> Place | None:
    value = row.get("place")
    if value is None:
        return None
    try:
        return Place(int(value["start"]), int(value["end"]), value.get("page"))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise line_error(
            file, line, "the field 'place' is not {start, end, page}", "correct it or leave it out"
        ) from error


def line_error(file: Path, line: int, problem: str, remedy: str) -> DataError:
    """The error to raise for a line: what is wrong with it, and what to do."""
    return DataError(f"{file}, line {line}: {problem}; {remedy}")
