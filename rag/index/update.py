"""A small change becomes a segment beside those that are there (`rag.index.segments`).

What came in small steps is written together again: a new segment takes over the smaller ones before it, so that there
are few. Where what came later, or is gone, is more than a quarter of what the index was made from, the whole index is
made again, from the vectors that are there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag.data.passages import Corpus
from rag.data.stored import (
    N_OF_LINE,
    PLACE,
    PLACE_SHIFT,
    StoredCorpus,
    described,
    origin_in,
    write_table,
)
from rag.errors import DataError, IndexMismatchError
from rag.index.checked import hand_on
from rag.index.encode import EXACT_FACTORIES, encode_in_shards, windows_of
from rag.index.manifest import Manifest
from rag.index.parts import BM25, PASSAGES, PLACES, TABLE, VECTORS, WINDOWS, Part, Parts, damage_to, read_parts
from rag.index.read import OpenIndex, open_generation
from rag.index.segments import (
    Size,
    Vectors,
    is_counted,
    is_segmented,
    name_in,
    places_of,
    save_vectors,
    sizes_of,
    write_sizes,
)
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.encoder import Encoder
from rag.retrieve.vectors import FaissIndex
from rag.types import Passage

LEAST_PASSAGES = 2000
"""An index of fewer passages is made anew with every change: that takes no longer."""
MOST_CHANGED = 0.25
TAKES_OVER = 2.0
"""A new segment takes over those before it that are at most so many times as large."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an index becomes by a small change.

    `opened` is the generation that serves, `base` its passages. `origin`, (n,) int64, is the row in `base` of each
    passage, -1 for a new one; `lines` and `ids` are of all of them (`described`). `rewritten`, (n,) bool, are the
    passages of the new segment: the new ones, and those of the segments that it takes over; `kept` are the others.
    """

    opened: OpenIndex
    base: StoredCorpus
    corpus: Corpus
    origin: np.ndarray
    lines: np.ndarray
    ids: np.ndarray
    rewritten: np.ndarray
    kept: dict[int, Size]

    @property
    def segment(self) -> int:
        """The number of the new segment."""
        return 1 + max(sizes_now(self.opened))


def sizes_now(opened: OpenIndex) -> dict[int, Size]:
    """The segments of a generation; of one that was made as a whole, its only one."""
    if is_segmented(opened.folder):
        return sizes_of(opened.folder)
    n = len(opened.corpus)
    return {0: Size(n, n + len(opened.windows()))}


def small_change(
    corpus: Corpus, lines: np.ndarray, ids: np.ndarray, current: Path | None, wanted: Manifest, own: Manifest | None
) -> Change | None:
    """The change from the generation that serves to `corpus`; None where the index is to be made as a whole.

    `lines` and `ids` are those of the corpus (`lines_of`), `own` is the manifest of the generation that serves.
    """
    if current is None or own is None or len(corpus) < LEAST_PASSAGES or own.factory not in EXACT_FACTORIES:
        return None
    if own.fingerprint == wanted.fingerprint:  # nothing has changed: it is made again because it is damaged
        return None
    if wanted.questions:  # rows of questions stand in no segment
        return None
    for name in ("encoder", "factory", "bm25", "window_sentences", "questions"):
        if getattr(own, name) != getattr(wanted, name):
            return None
    try:
        if not is_counted(current) or damage_to(current, "", anew=False):
            return None
        opened = open_generation(current, own)
        base = opened.corpus
        if not isinstance(base, StoredCorpus):
            return None
        sizes = sizes_now(opened)
    except (IndexMismatchError, DataError):
        return None
    origin = origin_in(corpus, base, lines, ids)
    segments = (base.table[PLACE] >> np.uint64(PLACE_SHIFT)).astype(np.int64)
    of_segment = np.where(origin >= 0, segments[origin], -1)
    n_whole = int((of_segment == 0).sum())
    if len(corpus) - n_whole + sizes[0].passages - n_whole > MOST_CHANGED * sizes[0].passages:
        return None
    rewritten = of_segment < 0
    kept = dict(sizes)
    for segment in sorted(sizes, reverse=True)[:-1]:
        in_it = of_segment == segment
        if in_it.any() and (not rewritten.any() or in_it.sum() > TAKES_OVER * rewritten.sum()):
            break
        rewritten |= in_it
        del kept[segment]
    return Change(opened, base, corpus, origin, lines, ids, rewritten, kept)


def write_change(building: Path, change: Change, encoder: Encoder) -> tuple[int, Parts]:
    """Write the passages, vectors and BM25 of the next generation; returns (how many passages are cut, what is linked).

    What is killed goes on from the shards that are in `building`.
    """
    rows = np.flatnonzero(change.rewritten)
    passages = Corpus([change.corpus[row] for row in rows.tolist()])
    linked = _link(building, change)
    sizes = dict(change.kept)
    lines, ids = change.lines.copy(), change.ids
    lines[:, ~change.rewritten] = change.base.table[:N_OF_LINE, change.origin[~change.rewritten]]
    cut, n_windows, owners = 0, 0, np.zeros(0, np.int64)
    if passages:
        segment = change.segment
        lines[:, rows], _ = described(passages, segment, building / name_in(PASSAGES, segment))
        vectors, owners, cut = _vectors(building, change, passages, rows, encoder)
        index = FaissIndex(vectors.shape[1])
        index.add(vectors)
        save_vectors(index, building / name_in(VECTORS, segment))
        BM25Retriever(passages, analyzer=change.opened.manifest.analyzer).save(building / name_in(BM25, segment))
        n_windows = len(owners)
        sizes[segment] = Size(len(passages), len(vectors))
    write_table(building / TABLE, lines, ids)
    _write_places(building, change, rows, owners, n_windows)
    write_sizes(building, sizes)
    if before := change.opened.manifest.passages_cut:
        is_gone = np.ones(len(change.base), bool)
        is_gone[change.origin[change.origin >= 0]] = False
        gone = [change.base[row].content for row in np.flatnonzero(is_gone).tolist()]
        before -= encoder.count_cut(gone) if gone else 0
    return before + cut, linked


def _link(building: Path, change: Change) -> Parts:
    """Let the segments that are kept stand in the next generation, too; returns what is known of their files."""
    generation = change.opened.folder
    known = read_parts(generation).named
    tops = {name_in(part, segment) for part in (PASSAGES, VECTORS, BM25) for segment in change.kept}
    found: dict[str, Part] = {}
    for name, part in known.items():
        if name.split("/")[0] not in tops:
            continue
        target = building / name
        target.parent.mkdir(exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(generation / name, target)
        except OSError:  # a file system without links
            shutil.copy2(generation / name, target)
        found[name] = part
    hand_on(generation, building, found)
    return Parts(found)


def _vectors(
    building: Path, change: Change, passages: Corpus, rows: np.ndarray, encoder: Encoder
) -> tuple[np.ndarray, np.ndarray, int]:
    """(vectors of the passages of the new segment and of their windows; the position of the passage of each window; how
    many of those that are new to the index are cut)."""
    contents = [passage.content for passage in passages]
    # A passage that is taken over has its vectors; so has one whose content another passage had.
    before = change.origin[rows]
    known = {at: row for at, row in enumerate(before.tolist()) if row >= 0}
    new = [at for at, row in enumerate(before.tolist()) if row < 0]
    moved = {new[at]: row for at, row in change.base.rows_with([contents[at] for at in new]).items()}
    known |= moved
    old: Vectors = change.opened.vectors()
    reused = dict(zip(known, old.vectors(list(known.values())), strict=True)) if known else {}
    vectors, cut = encode_in_shards("passages", contents, reused, encoder, building)
    if moved and change.opened.manifest.passages_cut:
        cut += encoder.count_cut([contents[at] for at in moved])
    n_sentences = change.opened.manifest.window_sentences
    if not n_sentences:
        return vectors, np.zeros(0, np.int64), cut
    windows, owners = windows_of(passages, vectors, n_sentences, _OldWindows(change, known, old), encoder, building)
    return np.concatenate([vectors, windows]), owners, cut


class _OldWindows:
    """The windows of passages that are known: `rows` are the rows that passages of the new segment had, by position."""

    def __init__(self, change: Change, rows: dict[int, int], vectors: Vectors):
        self._base, self._rows, self._vectors = change.base, rows, vectors
        self._owners = change.opened.windows()

    def of_windows(self, corpus: Corpus, owners: Sequence[int], n_sentences: int) -> dict[int, np.ndarray]:
        """The vectors of windows, by their position, where their passage is known with the same title and text."""
        found: dict[int, int] = {}
        positions = np.asarray(owners, np.int64)
        for at in np.unique(positions).tolist():
            if at not in self._rows or not _same_words(corpus[at], self._base[self._rows[at]]):
                continue
            own = np.flatnonzero(positions == at).tolist()
            first, last = (int(np.searchsorted(self._owners, self._rows[at], side)) for side in ("left", "right"))
            if last - first != len(own):  # its sentences were found in another way then
                continue
            found |= {position: len(self._base) + first + n for n, position in enumerate(own)}
        if not found:
            return {}
        return dict(zip(found, self._vectors.vectors(list(found.values())), strict=True))


def _same_words(one: Passage, other: Passage) -> bool:
    return (one.title, one.text) == (other.title, other.text)


def _write_places(building: Path, change: Change, rows: np.ndarray, owners: np.ndarray, n_windows: int) -> None:
    """Write where each vector stands: of the passages in order, then of the windows by their passages."""
    manifest = change.opened.manifest
    old_owners = change.opened.windows()
    n_before, n = len(change.base), len(change.origin)
    if is_segmented(change.opened.folder):
        before = places_of(change.opened.folder, manifest, len(old_owners))
    else:
        before = np.arange(n_before + len(old_owners), dtype=np.uint64)
    first = np.uint64(change.segment << PLACE_SHIFT)
    places = np.empty(n, np.uint64)
    stays = ~change.rewritten
    places[stays] = before[change.origin[stays]]
    places[rows] = first + np.arange(len(rows), dtype=np.uint64)
    row_now = np.full(n_before, -1, np.int64)
    row_now[change.origin[stays]] = np.flatnonzero(stays)
    owners_now = row_now[old_owners]
    of_windows = np.concatenate(
        [before[n_before:][owners_now >= 0], first + np.arange(len(rows), len(rows) + n_windows, dtype=np.uint64)]
    )
    all_owners = np.concatenate([owners_now[owners_now >= 0], rows[owners]])
    order = np.argsort(all_owners, kind="stable")
    with (building / PLACES).open("wb") as stream:
        np.save(stream, np.concatenate([places, of_windows[order]]))
    if manifest.window_sentences:
        with (building / WINDOWS).open("wb") as stream:
            np.save(stream, all_owners[order])
