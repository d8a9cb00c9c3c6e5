"""Vector indexes: FAISS inner product over unit vectors. An index knows vectors and row numbers, nothing else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.compute.hardware import n_threads
from rag.errors import ConfigError, IndexMismatchError

TRAINING_POINTS_PER_CELL = 64
_MAPPED_WHOLE = (b"IxFI", b"IxF2", b"IxFl", b"IHNf")
"""How the files begin of flat indexes, by their metric, and of graphs over flat vectors."""


class FaissIndex:
    """A FAISS index made from a factory string: `Flat` (exact), `HNSW32`, `IVF1024,Flat`, `IVF1024,PQ48`, ...

    Scores are inner products. Where FAISS finds fewer than k rows, it pads with -1; the padding is passed on.
    """

    _index: Any  # the types that FAISS ships do not know the methods that its Python wrapper adds

    def __init__(self, dimension: int, factory: str = "Flat", *, nprobe: int = 32, ef_search: int = 128):
        import faiss

        faiss.omp_set_num_threads(n_threads())
        try:
            self._index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise ConfigError(f"FAISS does not know the index {factory!r}; try Flat, HNSW32 or IVF1024,Flat") from error
        self._tune(nprobe, ef_search)

    @classmethod
    def load(cls, path: Path, *, nprobe: int = 32, ef_search: int = 128) -> FaissIndex:
        """Open a saved index, memory-mapped where its kind allows. Raises IndexMismatchError where it is damaged."""
        import faiss

        faiss.omp_set_num_threads(n_threads())
        index = cls.__new__(cls)
        try:
            with _readable(path) as name:
                index._index = faiss.read_index(name, _mapped(path))
        except RuntimeError as error:
            raise IndexMismatchError(f"{path} is missing or damaged") from error
        index._tune(nprobe, ef_search)
        return index

    def _tune(self, nprobe: int, ef_search: int) -> None:
        if hasattr(self._index, "nprobe"):
            self._index.nprobe = nprobe
        if hasattr(self._index, "hnsw"):
            self._index.hnsw.efSearch = ef_search

    def __len__(self) -> int:
        return self._index.ntotal

    def train(self, vectors: np.ndarray, seed: int = 0) -> None:
        """Learn the cells of an IVF or PQ index from (n, d) vectors, or from a sample of many; others need no training.

        Raises ConfigError where there are fewer vectors than cells.
        """
        if self._index.is_trained:
            return
        n_cells = getattr(self._index, "nlist", 256)
        if len(vectors) < n_cells:
            raise ConfigError(
                f"{len(vectors)} passages are too few for {n_cells} cells; use --set index.factory=Flat (exact)"
            )
        wanted = min(len(vectors), max(n_cells * TRAINING_POINTS_PER_CELL, 50_000))
        rows = np.random.default_rng(seed).choice(len(vectors), wanted, replace=False)
        self._index.train(np.ascontiguousarray(vectors[np.sort(rows)]))

    def add(self, vectors: np.ndarray) -> None:
        """Append (n, d) float32 rows of at most unit length."""
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def search(self, queries: np.ndarray, k: int, within: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Scores (q, k) float32 and rows (q, k) int64 for (q, d) queries, best first; row -1 means no hit.

        `within`, (n,) bool, marks the rows that may be found. An HNSW index may then find fewer than k; a kind of index
        that cannot search in a part raises ConfigError.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if within is None:
            return self._index.search(queries, k)
        try:
            return self._index.search(queries, k, params=self._selecting(within))
        except RuntimeError as error:
            raise ConfigError("this kind of index cannot search in a part; use Flat, HNSW32 or IVF1024,Flat") from error

    def _selecting(self, within: np.ndarray) -> Any:
        """FAISS's search parameters. They replace the settings of the index, so these are repeated in them."""
        import faiss

        wrapper: Any = faiss  # see `_index`
        chosen = wrapper.IDSelectorBitmap(np.packbits(within, bitorder="little"))
        if hasattr(self._index, "hnsw"):
            return wrapper.SearchParametersHNSW(sel=chosen, efSearch=self._index.hnsw.efSearch)
        if hasattr(self._index, "nprobe"):
            # The chosen rows may lie in any cell: look into all of them.
            return wrapper.SearchParametersIVF(sel=chosen, nprobe=self._index.nlist)
        return wrapper.SearchParameters(sel=chosen)

    def vectors(self, rows: Sequence[int]) -> np.ndarray:
        """The stored vectors of these rows, (n, d) float32; approximate where the index compresses them.

        Raises ConfigError for a kind of index that gives no vectors back.
        """
        import faiss

        # An IVF index does not know by itself which cell a row lies in.
        if cells := faiss.try_extract_index_ivf(self._index):
            cells.make_direct_map()
        try:
            return self._index.reconstruct_batch(np.asarray(rows, np.int64))
        except RuntimeError as error:
            raise ConfigError("this kind of index gives no vectors back; use Flat, HNSW32 or IVF1024,Flat") from error

    def save(self, path: Path) -> None:
        """Write the index to one file."""
        import faiss

        with _readable(path) as name:
            faiss.write_index(self._index, name)


def _mapped(path: Path) -> int:
    """FAISS's flag for mapping a file into memory; there is one for flat and graph indexes, and one for others."""
    import faiss

    with contextlib.suppress(OSError), path.open("rb") as stream:
        if stream.read(4) in _MAPPED_WHOLE:
            return faiss.IO_FLAG_MMAP_IFC
    return faiss.IO_FLAG_MMAP


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[str]:
    """A name of the file that FAISS takes: none that is no text, so the folder is opened for it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{folder}/{path.name}"
        finally:
            os.close(folder)
    else:
        yield str(path)
