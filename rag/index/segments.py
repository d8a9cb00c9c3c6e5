"""A generation in segments: what a small change leaves as it is, and beside it what the change brings.

    passages.jsonl    vectors.faiss    bm25/      segment 0: the whole index as it was last made
    passages-3.jsonl  vectors-3.faiss  bm25-3/    segment 3: passages that came later
    passages.npy      the passages that are there now, in order, and which segment each is in
    places.npy        the same of their vectors, and behind them those of their windows
    segments.json     how many passages and vectors each segment holds, those that are gone included

A segment never changes. The generations that share it share its files (hard links), so that a change costs as much as
it brings, and beside it 80 bytes for each passage.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag.data.stored import PLACE, StoredCorpus, rows_by_segment
from rag.errors import DataError, IndexMismatchError
from rag.files import read_json, write_json
from rag.index.checked import forget
from rag.index.manifest import Manifest
from rag.index.parts import BM25, PASSAGES, PLACES, SEGMENTS, TABLE, VECTORS, check_part, read_parts
from rag.index.unhashed import ARRAY_ERRORS
from rag.retrieve.counts import COUNTS, CountedBM25, CountedSegment
from rag.retrieve.segmented import SegmentedIndex
from rag.retrieve.vectors import FaissIndex


@dataclass(frozen=True, slots=True)
class Size:
    """How many passages and vectors a segment holds."""

    passages: int
    vectors: int


def name_in(part: str, segment: int) -> str:
    """The name of passages, vectors or BM25 of a segment."""
    if not segment:
        return part
    path = Path(part)
    return f"{path.stem}-{segment}{path.suffix}"


def is_segmented(generation: Path) -> bool:
    """Whether a generation is in segments. Raises IndexMismatchError where its manifest is damaged."""
    return SEGMENTS in read_parts(generation).named


def sizes_of(generation: Path) -> dict[int, Size]:
    """The segments of a generation by their numbers. Raises DataError where that is damaged."""
    path = generation / SEGMENTS
    try:
        stored = read_json(path, DataError)["segments"]
        sizes = {int(each["number"]): Size(int(each["passages"]), int(each["vectors"])) for each in stored}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error})") from error
    return sizes


def write_sizes(generation: Path, sizes: Mapping[int, Size]) -> None:
    """Write the segments of a generation."""
    rows = [{"number": n, "passages": size.passages, "vectors": size.vectors} for n, size in sizes.items()]
    write_json(generation / SEGMENTS, {"segments": rows})


def passage_files(generation: Path) -> dict[int, Path]:
    """The files of passages by their segments. Raises DataError where it is not known which they are."""
    segments = sizes_of(generation) if is_segmented(generation) else {0: None}
    return {segment: generation / name_in(PASSAGES, segment) for segment in segments}


def open_passages(generation: Path, manifest: Manifest, fix: str, *, anew: bool) -> StoredCorpus | None:
    """The passages where they lie; None for a generation without a table of them, or whose table is damaged.

    Raises IndexMismatchError where those of a generation in segments are damaged.
    """
    named = read_parts(generation).named
    if TABLE not in named or not manifest.n_passages:
        return None
    try:
        for name in (SEGMENTS,) if SEGMENTS in named else ():
            check_part(generation, name, fix, anew=anew)
        files = passage_files(generation)
        for name in (TABLE, *(file.name for file in files.values())):
            check_part(generation, name, fix, anew=anew)
        stored = StoredCorpus(files, generation / TABLE, fix, on_damage=lambda: forget(generation))
        if len(stored) != manifest.n_passages:
            raise ValueError(f"it holds {len(stored):,} passages, not {manifest.n_passages:,}")
    except (*ARRAY_ERRORS, DataError, IndexMismatchError) as error:
        if SEGMENTS not in named:
            return None  # the passages can be loaded without their table
        what = error.what if isinstance(error, IndexMismatchError) else f"{generation / TABLE} is damaged ({error})"
        raise IndexMismatchError(what, fix) from error
    return stored


def names_of(generation: Path, part: str) -> Iterator[str]:
    """The names of passages, vectors or BM25 of all segments. Raises DataError where it is not known which they are."""
    return (name_in(part, segment) for segment in sizes_of(generation))


def is_counted(generation: Path) -> bool:
    """Whether BM25 of a generation has what a change needs of it."""
    return f"{BM25}/{COUNTS}" in read_parts(generation).named


def places_of(generation: Path, manifest: Manifest, n_windows: int) -> np.ndarray:
    """(n,) uint64: the segment of each vector, and its number in it. Raises ValueError where they are not so many."""
    places = np.load(generation / PLACES, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    if places.dtype != np.uint64 or places.shape != (manifest.n_passages + n_windows,):
        raise ValueError(f"it holds {places.dtype} of shape {places.shape}")
    return places


def save_vectors(index: FaissIndex, path: Path) -> None:
    """Write the vectors. Raises OSError where they are not all on the disk, which FAISS does not always say."""
    try:
        index.save(path)
        is_whole = len(FaissIndex.load(path)) == len(index)
    except (RuntimeError, IndexMismatchError):
        is_whole = False
    if not is_whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def open_vectors(
    generation: Path, manifest: Manifest, n_windows: int, check: Callable[[str], None], **search: int
) -> SegmentedIndex:
    """The vectors of all segments; `check` raises for a part that is damaged, `search` is as for `FaissIndex.load`."""
    for name in (SEGMENTS, PLACES, *names_of(generation, VECTORS)):
        check(name)
    try:
        places = places_of(generation, manifest, n_windows)
        segments = {
            segment: FaissIndex.load(generation / name_in(VECTORS, segment), **search)
            for segment in sizes_of(generation)
        }
        return SegmentedIndex(segments, places)
    except ARRAY_ERRORS as error:
        raise IndexMismatchError(f"{generation / PLACES} is missing or damaged ({error})") from error


def open_bm25(generation: Path, manifest: Manifest, corpus: StoredCorpus, check: Callable[[str], None]) -> CountedBM25:
    """BM25 of all segments; `check` raises for a part that is damaged."""
    for name in (SEGMENTS, *names_of(generation, BM25)):
        check(name)
    sizes = {segment: size.passages for segment, size in sizes_of(generation).items()}
    try:
        rows = rows_by_segment(corpus.table[PLACE], sizes)
    except ValueError as error:
        raise IndexMismatchError(f"{generation / TABLE} is missing or damaged ({error})") from error
    segments = [CountedSegment(generation / name_in(BM25, segment), rows[segment]) for segment in sizes]
    return CountedBM25(segments, corpus, analyzer=manifest.analyzer)


Vectors = FaissIndex | SegmentedIndex
