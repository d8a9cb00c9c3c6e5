"""Vector indexes: FAISS inner product over unit vectors. An index knows vectors and row numbers, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rag.compute.hardware import n_threads
from rag.errors import ConfigError, IndexMismatchError

TRAINING_POINTS_PER_CELL = 64


class FaissIndex:
    """A FAISS index made by a factory string: `Flat` (exact), `HNSW32`, `IVF1024,Flat`, `IVF1024,PQ48`, ...

    Scores are inner products; rows that FAISS pads with -1 are passed on as -1.
    """

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
        """Open a saved index, memory-mapped where its kind allows."""
        import faiss

        faiss.omp_set_num_threads(n_threads())
        index = cls.__new__(cls)
        try:
            index._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            raise IndexMismatchError(
                f"{path} is missing or damaged; build the index again: rag index --rebuild -o {path.parent.parent}"
            ) from error
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
        """Learn the cells of an IVF or PQ index from (n, d) vectors, sampled where there are plenty."""
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
        """Scores (q, k) float32 and rows (q, k) int64, best first; row -1 means no hit.

        `within`, (n,) bool, says which rows may be found; an HNSW index may then find fewer than k, and one that
        cannot search in a part raises ConfigError.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if within is None:
            return self._index.search(queries, k)
        try:
            return self._index.search(queries, k, params=self._selecting(within))
        except RuntimeError as error:
            raise ConfigError("this kind of index cannot search in a part; use Flat, HNSW32 or IVF1024,Flat") from error

    def _selecting(self, within: np.ndarray):
        """FAISS's search parameters, which carry the settings of the index too."""
        import faiss

        chosen = faiss.IDSelectorBitmap(np.packbits(within, bitorder="little"))
        if hasattr(self._index, "hnsw"):
            return faiss.SearchParametersHNSW(sel=chosen, efSearch=self._index.hnsw.efSearch)
        if hasattr(self._index, "nprobe"):
            return faiss.SearchParametersIVF(sel=chosen, nprobe=self._index.nlist)  # the part may lie in any cell
        return faiss.SearchParameters(sel=chosen)

    def vectors(self, rows: Sequence[int]) -> np.ndarray:
        """The stored vectors of some rows, (n, d) float32; approximate where the index compresses them.

        Raises ConfigError for a kind of index that gives no vectors back.
        """
        import faiss

        if cells := faiss.try_extract_index_ivf(self._index):  # IVF does not know by itself which cell a row lies in
            cells.make_direct_map()
        try:
            return self._index.reconstruct_batch(np.asarray(rows, np.int64))
        except RuntimeError as error:
            raise ConfigError("this kind of index gives no vectors back; use Flat, HNSW32 or IVF1024,Flat") from error

    def save(self, path: Path) -> None:
        import faiss

        faiss.write_index(self._index, str(path))
