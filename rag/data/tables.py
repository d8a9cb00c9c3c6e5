"""Rows of tables: CSV, Parquet, data sets that `datasets` has saved, and those of the hub; read in batches."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.data.packed import LONGEST_LINE, raw_lines, unpacked_suffix
from rag.data.source import KINDS, NUMBERED, OTHERS, USUAL, Source, shards_of
from rag.errors import DataError
from rag.online import hub_answers

if TYPE_CHECKING:
    import datasets

ROWS_PER_BATCH = 1_000
DELIMITERS = ",;\t|"
_KNOWN = frozenset(name for names in USUAL.values() for name in names) | OTHERS
_SHARD = re.compile(r"(.+?)-\d+-of-\d+")


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is open: the names of its columns, and its rows as they are read, of the columns that are wanted."""

    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[dict]]


def open_table(source: Source) -> Table:
    """The table of a source. Raises DataError where it cannot be read, or lacks a column that the user named."""
    table = {"csv": _csv_table, "parquet": _parquet_table, "saved": _saved_table, "hub": _hub_table}[source.kind](
        source
    )
    for wanted, column in source.columns.items():
        if column not in table.columns:
            raise DataError(
                f"{source}: no column {column!r} (columns: {', '.join(table.columns)}); correct {wanted}={column}"
            )
    return table


def table_rows(source: Source) -> Iterator[tuple[int, dict]]:
    """(row number from 1 without the header, row) of a table, with the columns that hold something that is read."""
    table = open_table(source)
    named = source.columns.values()
    wanted = [name for name in table.columns if name in _KNOWN or name in named or NUMBERED.fullmatch(name)]
    yield from enumerate(table.read(wanted), 1)


def used_columns(source: Source, fields: Sequence[str]) -> str:
    """How a table is read, in words: its kind, and the columns that hold these fields."""
    found = open_table(source).columns
    held = {"id" if name == "question_id" else name: source.holder(name, found) for name in fields}
    words = [f"{name} = {column}" for name, column in held.items() if column is not None]
    return f"{KINDS[source.kind]}: {', '.join(words)}"


def _csv_table(source: Source) -> Table:
    """A table of texts, in UTF-8; an empty cell is None.

    Where the columns are named by number, there is no header, and quotes between tabs are signs as others are.
    """
    has_header = not source.columns or not all(column.isdecimal() for column in source.columns.values())
    first = next(_csv_cells(source.path, has_header), None)
    if first is None:
        raise DataError(f"{source} is empty; write the names of the columns into its first row")
    columns = tuple(first) if has_header else tuple(str(n) for n in range(1, len(first) + 1))
    if len(set(columns)) < len(columns):
        raise DataError(f"{source}: two columns of the header have one name ({', '.join(columns)}); rename one")

    def read(wanted: Sequence[str]) -> Iterator[dict]:
        places = [(name, columns.index(name)) for name in wanted]
        rows = _csv_cells(source.path, has_header)
        if has_header:
            next(rows)
        for number, row in enumerate(rows, 1):
            if len(row) != len(columns):
                raise DataError(
                    f"{source}, row {number}: {len(row)} cells, and there are {len(columns)} columns; "
                    "quote cells that hold the delimiter"
                )
            yield {name: row[place] or None for name, place in places}

    return Table(columns, read)


def _csv_cells(path: Path, has_header: bool) -> Iterator[list[str]]:
    """The rows of a CSV file, cell by cell, without rows that are blank."""
    lines = _texts(path)
    first = next(lines, "")
    delimiter = "\t" if unpacked_suffix(path).lower() == ".tsv" else max(DELIMITERS, key=first.count)
    is_plain = delimiter == "\t" and not has_header
    before = csv.field_size_limit(LONGEST_LINE)
    number = 0
    try:
        for row in csv.reader(
            _chained(first, lines),
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if is_plain else csv.QUOTE_MINIMAL,
            strict=True,
        ):
            number += 1
            if any(row):
                yield row
    except csv.Error as error:
        raise DataError(f"{path}, row {number}: not readable as CSV ({error}); correct its quotes") from error
    finally:
        csv.field_size_limit(before)


def _chained(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _texts(path: Path) -> Iterator[str]:
    for number, raw in raw_lines(path):
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from error


def _parquet_table(source: Source) -> Table:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    files = _of_split(source, shards_of(source.path)) if source.path.is_dir() else [source.path]
    try:
        columns = tuple(ParquetFile(files[0]).schema_arrow.names)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(files[0], error) from error

    def read(wanted: Sequence[str]) -> Iterator[dict]:
        for file in files:
            try:
                for batch in ParquetFile(file).iter_batches(ROWS_PER_BATCH, columns=list(wanted)):
                    yield from batch.to_pylist()
            except (pyarrow.ArrowException, OSError) as error:
                raise _damaged(file, error) from error

    return Table(columns, read)


def _damaged(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{file} cannot be read as Parquet ({reason:.200}); fetch or write the file again")


def _of_split(source: Source, files: Sequence[Path]) -> list[Path]:
    """The shards of the split that is named, or of the only one there is."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        match = _SHARD.fullmatch(file.stem)
        splits.setdefault(match[1] if match else "", []).append(file)
    if not source.parts and ("" in splits or len(splits) == 1):
        return list(files)
    return splits[_chosen(source, splits)]


def _chosen(source: Source, splits: Iterable[str]) -> str:
    """The split that a source names; of one alone, that. Raises DataError naming the splits."""
    known = list(splits)
    if not source.parts and len(known) == 1:
        return known[0]
    if source.parts and source.parts[-1] in known:
        return source.parts[-1]
    lead = ":".join([source.where, *source.parts[:-1]])
    problem = f"has no split {source.parts[-1]!r}" if source.parts else "has several splits"
    raise DataError(f"{source.where} {problem} (splits: {', '.join(known)}); name one, as in {lead}:{known[0]}")


def _saved_table(source: Source) -> Table:
    import datasets

    folder = source.path
    try:
        if (description := folder / "dataset_dict.json").is_file():
            splits = json.loads(description.read_text("utf-8"))["splits"]
            folder = folder / _chosen(source, splits)
        elif source.parts:
            raise DataError(f"{folder} is one split of a data set; leave :{source.parts[0]} out")
        return _of_dataset(datasets.Dataset.load_from_disk(str(folder)))
    except (ValueError, KeyError, OSError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{folder} cannot be read as a saved data set ({reason:.200}); save it again") from error


def _hub_table(source: Source) -> Table:
    """A data set of the hub, or of the cache of `datasets` where the hub does not answer."""
    import datasets

    configuration, split = (None, *source.parts)[-2:] if len(source.parts) == 2 else (None, None)
    with _quiet(datasets):
        try:
            if len(source.parts) == 1:  # a configuration, or a split where there is but one
                try:
                    found = datasets.load_dataset(source.where, source.parts[0])
                except ValueError:
                    found = datasets.load_dataset(source.where)
                    return _of_dataset(found[_chosen(source, found)])
            else:
                found = datasets.load_dataset(source.where, configuration)
        except DataError:
            raise
        except Exception as error:  # of the hub, of its client, or of a builder: all end here
            raise _not_loaded(source, error) from error
        if split is None:
            return _of_dataset(found[_chosen(Source(source.name, str(source), "hub"), found)])
        return _of_dataset(found[_chosen(source, found)])


def _not_loaded(source: Source, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    if "Config name is missing" in reason or "BuilderConfig" in reason:
        return DataError(f"{source}: {reason:.300}; name one, as in {source.where}:CONFIG:SPLIT")
    return DataError(
        f"{source} is no file here, and as a data set of the hub it could not be loaded ({reason:.200}); "
        "check the name, or load it once where the hub answers"
    )


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without progress bars and advice, and without waiting for a hub that does not answer."""
    had_bars, loudness = library.are_progress_bars_disabled(), library.logging.get_verbosity()
    was_offline = library.config.HF_HUB_OFFLINE
    library.disable_progress_bars()
    library.logging.set_verbosity_error()
    library.config.HF_HUB_OFFLINE = was_offline or not hub_answers()
    try:
        yield
    finally:
        library.config.HF_HUB_OFFLINE = was_offline
        library.logging.set_verbosity(loudness)
        if not had_bars:
            library.enable_progress_bars()


def _of_dataset(data: datasets.Dataset) -> Table:
    def read(wanted: Sequence[str]) -> Iterator[dict]:
        for batch in data.select_columns(list(wanted)).with_format("arrow").iter(ROWS_PER_BATCH):
            yield from batch.to_pylist()

    return Table(tuple(data.column_names), read)
