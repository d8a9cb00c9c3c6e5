"""Passages that stay on the disk: one is read when it is asked for, and held against a hash of its line.

Beside the JSON lines stands a table, (9, n) uint64, a column for each passage and a row for each of `COLUMNS`. Both are
read where they lie. So a million passages are open at once. A line that is not as it was written is never taken for a
passage. The lines may be in several files, the segments of an index (`rag.index.segments`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import os
import weakref
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.types import Passage, Place

# Where the line starts in its file; its length; two halves of a hash of it; hashes of the document's name and of the
# content; the segment and the number in it. Then, in an order of their own: the hashes of all ids, and their rows.
START, SIZE, CHECK, CHECK_2, DOCUMENT, CONTENT, PLACE, SORTED_ID, ROW = COLUMNS = range(9)
N_OF_LINE = SORTED_ID
PLACE_SHIFT = 40
"""A place says above these bits which segment a passage is in."""
KEPT_PASSAGES = 4096
_TITLE = b', "title": '


def hash64(content: str | bytes) -> int:
    """The first 64 bits of BLAKE2b."""
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def passage_line(passage: Passage) -> bytes:
    """A passage as a line of JSON; it begins with the id, and then the title."""
    # Not asdict, which takes longer than all the rest.
    row: dict = {"id": passage.id, "title": passage.title, "text": passage.text, "source": passage.source}
    if place := passage.place:
        row["place"] = {"start": place.start, "end": place.end, "page": place.page}
    return json.dumps(row).encode() + b"\n"


def _check_of(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def described(passages: Iterable[Passage], segment: int = 0, path: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """((7, n) uint64 of the lines of passages, (n,) uint64 hashes of their ids); written to `path`, if one is given."""
    known: dict[str, int] = {}
    numbers = array("Q")  # one after the other: tuples of a million passages would take 465 MB
    at = 0
    place = segment << PLACE_SHIFT
    with open(path or os.devnull, "wb") as stream:
        for passage in passages:
            line = passage_line(passage)
            if (name := passage.document) not in known:
                known[name] = hash64(name)
            check = _check_of(line)
            first, second = int.from_bytes(check[:8], "little"), int.from_bytes(check[8:], "little")
            of_id = hash64(passage.id)
            numbers.extend((at, len(line), first, second, known[name], hash64(passage.content), place, of_id))
            at += len(line)
            place += 1
            stream.write(line)
    table = np.array(numbers, np.uint64).reshape(-1, N_OF_LINE + 1).T
    return table[:N_OF_LINE], table[N_OF_LINE].copy()


def write_table(path: Path, lines: np.ndarray, ids: np.ndarray) -> None:
    """Write the table of what `described` returned, for the passages of all rows in order."""
    order = np.argsort(ids, kind="stable")
    table = np.concatenate([lines, ids[order][None], order.astype(np.uint64)[None]])
    with path.open("wb") as stream:
        np.save(stream, np.ascontiguousarray(table))  # what is looked up together lies together


def digest_of(lines: np.ndarray) -> str:
    """What tells a corpus from every other: a hash of its lines' hashes, in order."""
    pairs = np.ascontiguousarray(lines[CHECK : CHECK_2 + 1].T, "<u8")
    return DIGEST + hashlib.sha256(pairs.tobytes()).hexdigest()[len(DIGEST) :]


DIGEST = "lines-"
"""How a digest begins, unlike the hash that `Corpus.sha256` gives."""


def digest(corpus: Corpus) -> str:
    """`digest_of` the lines of any corpus."""
    return digest_of(lines_of(corpus)[0])


def is_of(corpus: Corpus, stored: str) -> bool:
    """Whether a manifest's hash of its corpus is that of this one: a digest, or the older hash."""
    return stored == (digest(corpus) if stored.startswith(DIGEST) else corpus.sha256())


def lines_of(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """What `described` returns for a corpus; that of one which is not in memory is not computed again."""
    return corpus.lines() if isinstance(corpus, StoredCorpus | ChangedCorpus) else described(corpus)


def origin_in(corpus: Corpus, base: StoredCorpus, lines: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(n,) int64: the row in `base` of each passage of `corpus`, of which `lines_of` is given; -1 where it has none."""
    if isinstance(corpus, ChangedCorpus) and corpus.base.folder == base.folder:
        return corpus.origin
    at = np.minimum(np.searchsorted(base.table[SORTED_ID], ids), len(base) - 1)
    rows = base.table[ROW, at].astype(np.int64)
    is_same = base.table[SORTED_ID, at] == ids
    for column in (CHECK, CHECK_2):
        is_same &= base.table[column, rows] == lines[column]
    return np.where(is_same, rows, -1)


def rows_by_segment(places: np.ndarray, sizes: Mapping[int, int]) -> dict[int, np.ndarray]:
    """For each segment the row of each of its members, (size,) int64, -1 for one that is gone.

    `places`, (n,) uint64, says of each row the segment, above `PLACE_SHIFT` bits, and the number in it. Raises
    ValueError where it names what is not there.
    """
    of_segment = places >> np.uint64(PLACE_SHIFT)
    numbers = (places & np.uint64((1 << PLACE_SHIFT) - 1)).astype(np.int64)
    found = {}
    n_found = 0
    for segment, size in sizes.items():
        rows = np.flatnonzero(of_segment == np.uint64(segment))
        if numbers[rows].max(initial=-1) >= size:
            raise ValueError(f"it names more of segment {segment} than it holds")
        n_found += len(rows)
        found[segment] = np.full(size, -1, np.int64)
        found[segment][numbers[rows]] = rows
    if n_found != len(places):
        raise ValueError("it names segments that are not there")
    return found


class StoredCorpus(Corpus):
    """The passages of files that `described` wrote, by the table of `write_table`; nothing of them is loaded.

    `files` are by the number of their segment. `fix` is the command that makes them again: it stands in the
    IndexMismatchError that a damaged line raises, after `on_damage` is called. Raises OSError or ValueError for files
    that cannot be opened, and for a table that is none.
    """

    def __init__(
        self, files: Mapping[int, Path], table: Path, fix: str, *, on_damage: Callable[[], None] | None = None
    ):
        self.folder = table.parent
        # Not the memory-mapped kind of array, whose single items are slow to reach.
        self.table = np.load(table, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        if self.table.ndim != 2 or len(self.table) != len(COLUMNS) or self.table.dtype != np.uint64:
            raise ValueError(f"{table} holds {self.table.dtype} of shape {self.table.shape}")
        if self.table[ROW].max(initial=0) > max(len(self) - 1, 0):
            raise ValueError(f"{table} names passages that are not there")
        self._lines = _Lines(files, self.table, fix, on_damage)
        self._read = functools.lru_cache(KEPT_PASSAGES)(self._lines.passage)

    def __len__(self) -> int:
        return self.table.shape[1]

    def __iter__(self) -> Iterator[Passage]:
        return map(self._lines.passage, range(len(self)))

    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self._read(n) for n in range(*row.indices(len(self)))]
        number = operator.index(row)
        if not -len(self) <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        return self._read(number % len(self))

    def __contains__(self, passage_id: object) -> bool:
        return isinstance(passage_id, str) and self.row_of(passage_id) is not None

    def by_id(self, passage_id: str) -> Passage:
        """The passage of an id; raises KeyError where there is none."""
        row = self.row_of(passage_id)
        if row is None:
            raise KeyError(passage_id)
        return self._read(row)

    def ids(self) -> Iterator[str]:
        """Every id, in order."""
        return map(self._lines.passage_id, range(len(self)))

    def rows_of(self, name: str) -> list[int]:
        """The rows of a document's passages, in order."""
        rows = np.flatnonzero(self.table[DOCUMENT] == np.uint64(hash64(name)))
        return [row for row in rows.tolist() if self._read(row).document == name]

    def of_document(self, name: str) -> list[Passage]:
        """The passages of a document, in order."""
        return [self._read(row) for row in self.rows_of(name)]

    def marked(self, documents: Collection[str]) -> np.ndarray:
        """(n,) bool: the passages of these documents."""
        return np.isin(self.table[DOCUMENT], np.array([hash64(name) for name in documents], np.uint64))

    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """What `described` would return for these passages."""
        ids = np.empty(len(self), np.uint64)
        ids[self.table[ROW].astype(np.int64)] = self.table[SORTED_ID]
        return self.table[:N_OF_LINE], ids

    def rows_with(self, contents: Sequence[str]) -> dict[int, int]:
        """A row whose passage has the content, by the position among `contents`; none where no passage has it."""
        hashes = np.array([hash64(content) for content in contents], np.uint64)
        rows = np.flatnonzero(np.isin(self.table[CONTENT], hashes))
        first = dict(zip(self.table[CONTENT, rows[::-1]].tolist(), rows[::-1].tolist(), strict=True))
        found = {at: first[of] for at, of in enumerate(hashes.tolist()) if of in first}
        return {at: row for at, row in found.items() if self._read(row).content == contents[at]}

    def row_of(self, passage_id: str) -> int | None:
        """The row of an id, None where there is no such passage."""
        wanted, ids = np.uint64(hash64(passage_id)), self.table[SORTED_ID]
        at = int(np.searchsorted(ids, wanted))
        while at < len(ids) and ids[at] == wanted:  # two ids may have one hash
            if self._read(row := int(self.table[ROW, at])).id == passage_id:
                return row
            at += 1
        return None


class ChangedCorpus(Corpus):
    """A stored corpus, changed: `origin`, (n,) int64, is the row that a passage had; -1 for the next of `fresh`."""

    def __init__(self, base: StoredCorpus, origin: np.ndarray, fresh: Sequence[Passage]):
        self.base, self.origin, self.fresh = base, origin, list(fresh)
        self._fresh_of = np.cumsum(origin < 0) - 1

    def __len__(self) -> int:
        return len(self.origin)

    def __iter__(self) -> Iterator[Passage]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self[n] for n in range(*row.indices(len(self)))]
        before = int(self.origin[row])
        return self.fresh[int(self._fresh_of[row])] if before < 0 else self.base[before]

    def __contains__(self, passage_id: object) -> bool:
        return passage_id in self._in_memory

    def by_id(self, passage_id: str) -> Passage:
        """The passage of an id; raises KeyError where there is none."""
        return self._in_memory.by_id(passage_id)

    def row_of(self, passage_id: str) -> int | None:
        """The row of an id, None where there is no such passage."""
        return self._in_memory.row_of(passage_id)

    @functools.cached_property
    def _in_memory(self) -> Corpus:
        return Corpus(self)

    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """What `described` would return for these passages; the places of those that are fresh are not yet known."""
        lines, ids = self.base.lines()
        fresh_lines, fresh_ids = described(self.fresh)
        is_fresh = self.origin < 0
        found, found_ids = lines[:, self.origin], ids[self.origin]
        found[:, is_fresh], found_ids[is_fresh] = fresh_lines, fresh_ids
        return found, found_ids


class _Lines:
    """The lines of the passages, by row. The files stay open: a corpus outlives the folder that it lies in."""

    def __init__(self, files: Mapping[int, Path], table: np.ndarray, fix: str, on_damage: Callable[[], None] | None):
        self._files, self._table, self._fix, self._on_damage = dict(files), table, fix, on_damage
        self._open: dict[int, int] = {}
        weakref.finalize(self, _close, self._open)
        for number, file in files.items():
            self._open[number] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)

    def passage(self, row: int) -> Passage:
        stored: dict[str, Any] = json.loads(self._line(row))
        place = stored.get("place")
        at = Place(place["start"], place["end"], place["page"]) if place else None
        return Passage(stored["id"], stored["text"], stored["title"], stored["source"], at)

    def passage_id(self, row: int) -> str:
        # No quotation mark stands in a JSON string without a backslash before it: this is the end of the first field.
        line = self._line(row)
        return json.loads(line[len(b'{"id": ') : line.index(_TITLE)])

    def _line(self, row: int) -> bytes:
        """The line of a row. Raises IndexMismatchError where it is not as it was written."""
        start, size, first, second, _, _, place = self._table[:N_OF_LINE, row].tolist()
        segment = place >> PLACE_SHIFT
        why = "its bytes are not those that were written"
        try:
            line = os.pread(self._open[segment], size, start)
            if _check_of(line) == first.to_bytes(8, "little") + second.to_bytes(8, "little"):
                return line
        except (OSError, KeyError, OverflowError, MemoryError) as error:
            why = f"it cannot be read: {error}"
        if self._on_damage is not None:
            self._on_damage()
        file = self._files.get(segment) or next(iter(self._files.values()))
        raise IndexMismatchError(f"{file} is missing or damaged (passage {row + 1:,}: {why})", self._fix)


def _close(descriptors: Mapping[int, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
