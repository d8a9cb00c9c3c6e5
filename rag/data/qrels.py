"""Relevance judgements (qrels), from JSON, columns or a BEIR folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rag.data.packed import or_packed, unpacked_suffix
from rag.data.passages import Corpus
from rag.data.rows import line_error, numbered_lines, rows_of, text_field
from rag.data.source import Source, source_of
from rag.data.tables import open_table
from rag.errors import DataError
from rag.types import Qrels

COUNTED_AS_LOST = "pass --allow-unknown to count them as lost"


def load_qrels(path: str | Path) -> Qrels:
    """Relevance judgements: one JSON object, a TREC or BEIR file of columns, a table, or a folder of BEIR's.

    Tables and data sets of the hub: `rag.data.source`. Of a BEIR folder, its `qrels/*.tsv` are read.
    """
    merged: Qrels = {}
    for file in _qrels_files(path):
        qrels = _json_qrels(file) if isinstance(file, Path) and _is_json_object(file) else _column_qrels(file)
        if not qrels:
            holds = (
                "it has no row"
                if isinstance(file, Source)
                else "write {qid: {id: 1}}, or lines of query-id, passage-id, grade"
            )
            raise DataError(f"{file} holds no judgement; {holds}")
        for qid, judged in qrels.items():
            merged.setdefault(qid, {}).update(judged)
    return merged


def qrels_of_folder(path: str | Path) -> Qrels | None:
    """The judgements of a BEIR folder (`queries.jsonl`, `qrels/*.tsv`); None for a file, or a folder without them."""
    folder = Path(path)
    has_judgements = any((folder / "qrels").glob("*.tsv")) or any((folder / "qrels").glob("*.tsv.gz"))
    return load_qrels(folder) if folder.is_dir() and has_judgements else None


def _qrels_files(reference: str | Path) -> Sequence[Path | Source]:
    """The files or the table of judgements; of a BEIR folder, those of the test split where it has one.

    A file in .tsv may be TREC's, which has no header: it is a table only where its columns are named.
    """
    source = source_of(reference)
    if source.is_table and (unpacked_suffix(source.path) != ".tsv" or source.columns):
        return [source]
    path = or_packed(source.path)
    if path.is_dir():
        folder = path / "qrels" if (path / "qrels").is_dir() else path
        test = or_packed(folder / "test.tsv")
        files = [test] if test.is_file() else sorted([*folder.glob("*.tsv"), *folder.glob("*.tsv.gz")])
        if not files:
            raise DataError(f"{path} holds no qrels (*.tsv); name the file of judgements")
        return files
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; name the file of relevance judgements, or a data set of the hub as owner/name"
        )
    return [path]


def _is_json_object(file: Path) -> bool:
    return next((text for _, text in numbered_lines(file) if text.strip()), "").lstrip().startswith("{")


def _json_qrels(file: Path) -> Qrels:
    """Not by `read_json`: an error names its line, and a query that stands twice is one."""
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
    return "".join(text + "\n" for _, text in numbered_lines(file))


def _members(text: str) -> Iterator[tuple[int, str, object]]:
    """(offset, key, value) of every member of a valid JSON object; json.loads would keep the last of equal keys."""
    decoder = json.JSONDecoder()
    start = _behind(text, text.index("{") + 1, " \t\n\r")
    while text[start] != "}":
        key, end = decoder.raw_decode(text, start)
        value, end = decoder.raw_decode(text, _behind(text, end, " \t\n\r:"))
        yield start, key, value
        start = _behind(text, end, " \t\n\r,")


def _behind(text: str, start: int, characters: str) -> int:
    """The place of the first character from `start` on that is none of these."""
    while text[start] in characters:
        start += 1
    return start


def _column_qrels(file: Path | Source) -> Qrels:
    qrels: Qrels = {}
    for line, qid, passage_id, grade in _judgements(file):
        known = qrels.setdefault(qid, {}).setdefault(passage_id, grade)
        if known != grade:
            raise line_error(
                file, line, f"for query {qid!r} the passage {passage_id!r} already has the grade {known}", "delete one"
            )
    return qrels


def _judgements(file: Path | Source) -> Iterator[tuple[int, str, str, int]]:
    """(line, query id, passage id, grade) of every judgement.

    Columns are TREC's (`qid 0 id grade`) or BEIR's (`query-id corpus-id score`, with a header), between tabs or spaces.
    """
    if isinstance(file, Source):
        yield from _judged_rows(file)
        return
    for line, text in numbered_lines(file):
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


def _judged_rows(source: Source) -> Iterator[tuple[int, str, str, int]]:
    """`_judgements` of a table; where it has no column of grades, each row is relevant."""
    found = open_table(source).columns
    for wanted, what in (("query_id", "the id of the query"), ("passage_id", "the id of the passage")):
        if source.holder(wanted, found) is None:
            raise source.lacks(what, wanted, found)
    name = source.holder("grade", found)
    for number, row in rows_of(source):
        qid = text_field(row, source.names("query_id"), source, number)
        passage_id = text_field(row, source.names("passage_id"), source, number)
        grade = 1 if name is None else row[name]
        try:
            whole = int(grade)
        except (TypeError, ValueError, OverflowError) as error:
            raise line_error(source, number, f"the grade {name!r} is {grade!r:.40}", "write an integer") from error
        if isinstance(grade, float) and grade != whole:
            raise line_error(source, number, f"the grade {name!r} is {grade}", "write an integer")
        yield number, qid, passage_id, whole


def check_qrels(qrels: Qrels, corpus: Corpus, path: str | Path, *, otherwise: str = COUNTED_AS_LOST) -> None:
    """Raises DataError where a judged passage is not in the corpus; it names the judgement's file and line.

    `otherwise` says what else can be done than to index another corpus.
    """
    unknown = [(qid, pid) for qid, judged in qrels.items() for pid in judged if pid not in corpus]
    if not unknown:
        return
    qid, pid = unknown[0]
    file, line = _place(path, qid, pid)
    raise line_error(
        file,
        line,
        f"query {qid!r} names passage {pid!r}, which is not in the corpus ({len(unknown)} such judgements)",
        f"index the corpus that the judgements were made for, or {otherwise}",
    )


def _place(path: str | Path, qid: str, passage_id: str) -> tuple[Path | Source, int]:
    """The file and line of a judgement."""
    for file in _qrels_files(path):
        if isinstance(file, Path) and _is_json_object(file):
            line = _line_in_json(file, qid, passage_id)
        else:
            line = _line_in_columns(file, qid, passage_id)
        if line is not None:
            return file, line
    return Path(path), 1


def _line_in_columns(file: Path | Source, qid: str, passage_id: str) -> int | None:
    for line, judged_qid, judged_id, _ in _judgements(file):
        if (judged_qid, judged_id) == (qid, passage_id):
            return line
    return None


def _line_in_json(file: Path, qid: str, passage_id: str) -> int | None:
    text = _whole_text(file)
    for start, key, judged in _members(text):
        if key == qid and isinstance(judged, dict) and passage_id in judged:
            # The id may be written with letters beyond ASCII as they are, or escaped.
            places = [text.find(json.dumps(passage_id, ensure_ascii=escaped), start) for escaped in (True, False)]
            return text.count("\n", 0, max(places)) + 1
    return None
