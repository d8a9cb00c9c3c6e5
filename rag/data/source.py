"""Where rows come from: a file, a folder or a data set of the hub, and how its columns are called.

Whatever names a corpus, questions or judgements may name any of these:

    corpus.jsonl  train.csv  train.parquet  shards/  saved/  owner/name  owner/name:config:split

and may end in the columns that hold a field, as in `train.csv:question=q,answer=gold`. A saved data set and a folder of
shards take the split behind a colon too. What a field's column is usually called is found without that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rag.data.packed import or_packed, unpacked_suffix
from rag.errors import DataError

Kind = Literal["lines", "folder", "csv", "parquet", "saved", "hub"]
KINDS = {"csv": "CSV", "parquet": "Parquet", "saved": "a saved data set", "hub": "a data set of the hub"}
TABLES = frozenset(KINDS)

USUAL: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "_id", "pid", "docid", "doc_id", "passage_id", "corpus_id", "corpus-id"),
    "text": ("text", "passage", "contents", "content", "context", "document", "body"),
    "title": ("title",),
    "source": ("source",),
    "question_id": ("qid", "_id", "id", "query_id", "query-id", "question_id"),
    "question": ("question", "query", "text", "anchor", "rewrite"),
    "rewrite": ("rewrite",),
    "answer": ("answer", "answers"),
    "positive": ("positive", "positives", "positive_passages", "positive_ctxs", "pos"),
    "negative": ("negative", "negatives", "negative_passages", "hard_negatives", "negative_ctxs", "neg"),
    "label": ("label", "is_relevant", "relevance"),
    "query_id": ("query-id", "query_id", "qid"),
    "passage_id": ("corpus-id", "corpus_id", "passage_id", "pid", "docid", "doc_id"),
    "grade": ("score", "grade", "relevance", "label"),
}
"""What the columns of a field are usually called; the first that a row has counts."""
OTHERS = frozenset({"place", "evidences", "retrieval_labels", "passages"})
FIELDS = tuple(name for name in USUAL if name != "question_id")
"""What the user may name a column of; `id` is that of a question or of a passage, whichever a row holds."""
NUMBERED = re.compile(r"negative_\d+")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILE_SUFFIXES = frozenset({".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".bz2", ".zip"})
_LAYOUTS = ("corpus.txt", "corpus.jsonl", "queries.jsonl", "qrels")


@dataclass(frozen=True, slots=True)
class Source:
    """A file, folder or hub data set: where it is, which configuration and split, and the columns that were named."""

    name: str
    """As it was given."""
    where: str
    """The path, or the hub's name."""
    kind: Kind
    parts: tuple[str, ...] = ()
    """Split, or configuration and split."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The column of a field, where the user named it."""

    def __str__(self) -> str:
        return self.where if self.kind in ("lines", "folder") else ":".join((self.where, *self.parts))

    @property
    def path(self) -> Path:
        return Path(self.where)

    @property
    def is_table(self) -> bool:
        """Whether the rows have columns that are known before they are read."""
        return self.kind in TABLES

    @property
    def unit(self) -> str:
        """What is counted in it."""
        return "row" if self.is_table else "line"

    def names(self, wanted: str) -> tuple[str, ...]:
        """The names by which a row may hold a field, the likeliest first."""
        named = self.columns.get("id" if wanted == "question_id" else wanted)
        return USUAL[wanted] if named is None else (named,)

    def holder(self, wanted: str, found: Collection[str]) -> str | None:
        """The one of `found` that holds a field; None where there is none."""
        return next((name for name in self.names(wanted) if name in found), None)

    def resolved(self) -> str:
        """The name by which it is found from any working folder."""
        where = self.where if self.kind == "hub" else str(self.path.resolve())
        columns = ",".join(f"{name}={column}" for name, column in self.columns.items())
        return ":".join([where, *self.parts, *([columns] if columns else [])])

    def lacks(self, what: str, wanted: str, found: Iterable[str], otherwise: str = "") -> DataError:
        """The error that no column holds a field: what was found, and how to name it."""
        columns = ", ".join(found) or "none"
        name = f"name it: {self}:{wanted}=COLUMN"
        return DataError(f"{self}: no column holds {what} (columns: {columns}); {name}{otherwise}")


def source_of(reference: str | Path | Source) -> Source:
    """What a reference names. Raises DataError for columns that are not understood.

    A path that is there is meant as it stands, whatever signs are in it. A name with one slash is of the hub only where
    no such path, nor a folder as its first part, is there, and where it has no suffix of a file.
    """
    if isinstance(reference, Source):
        return reference
    name = str(reference)
    if or_packed(Path(name)).exists():
        return _at(name, name, (), {})
    parts = name.split(":")
    columns = _columns(name, parts.pop()) if len(parts) > 1 and "=" in parts[-1] else {}
    for n in range(len(parts), 0, -1):
        where = ":".join(parts[:n])
        if or_packed(Path(where)).exists():
            return _at(name, where, tuple(parts[n:]), columns)
    if _is_hub_name(parts[0]) and len(parts) <= 3:
        return Source(name, parts[0], "hub", tuple(parts[1:]), columns)
    return Source(name, ":".join(parts), "lines", (), columns)


def shards_of(folder: Path) -> list[Path]:
    """The Parquet files of a folder, or of `data` in it as the hub lays them, in the order of their names."""
    return sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))


def is_saved(folder: Path) -> bool:
    """Whether `datasets` has saved a data set, or one of several splits, in a folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _at(name: str, where: str, parts: tuple[str, ...], columns: Mapping[str, str]) -> Source:
    path = or_packed(Path(where))
    kind: Kind = "lines"
    if path.is_dir():
        has_layout = any(or_packed(path / each).exists() for each in _LAYOUTS)
        kind = "saved" if is_saved(path) else "parquet" if not has_layout and shards_of(path) else "folder"
    elif (suffix := unpacked_suffix(path).lower()) in (".csv", ".tsv", ".parquet"):
        kind = "parquet" if suffix == ".parquet" else "csv"
    if parts and (path.is_file() or kind == "folder" or len(parts) > 1):
        raise DataError(f"{where} has no split {':'.join(parts)!r}; name the columns of a file as {where}:text=COLUMN")
    return Source(name, str(path), kind, parts, columns)


def _columns(name: str, text: str) -> dict[str, str]:
    """The columns named behind the last colon, by field."""
    found: dict[str, str] = {}
    for item in text.split(","):
        wanted, separator, column = item.partition("=")
        if not separator or not column or wanted not in FIELDS:
            raise DataError(f"{name}: {item!r} names no column; write FIELD=COLUMN, fields are {', '.join(FIELDS)}")
        found[wanted] = column
    return found


def _is_hub_name(name: str) -> bool:
    is_file = Path(name).suffix.lower() in _FILE_SUFFIXES or Path(name.partition("/")[0]).is_dir()
    return _HUB_NAME.fullmatch(name) is not None and not is_file and not name.startswith(".")
