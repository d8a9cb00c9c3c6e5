"""What can be seen of damage in an index from before its parts were hashed, without following it anywhere.

What is looked at here would else crash a library or, as a vector that is no number, change the order of what is found.
Other bytes that are as plausible as those that were written cannot be seen; the next build or ingest adds hashes.
"""

from __future__ import annotations

import json
import struct
import tokenize
from pathlib import Path

import numpy as np

from rag.errors import IndexMismatchError
from rag.index.manifest import Manifest

# Every FAISS file: four letters, the dimension, how many vectors (faiss/impl/index_write.cpp, write_index_header).
_HEADER = struct.Struct("<4siq")
# A flat one goes on with two numbers that are not used, whether it is trained, the metric, and the number of floats.
_FLAT_KINDS = (b"IxFI", b"IxF2", b"IxFl")
_FLAT_HEADER_BYTES = 45
# What NumPy raises for an array file that is damaged: its header is a Python literal, and its length is believed.
ARRAY_ERRORS = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, MemoryError, OverflowError, RecursionError),
    *(SyntaxError, tokenize.TokenError),
)
_ARRAYS = {"data": np.float32, "indices": np.int32, "indptr": np.integer}


def check_vectors(path: Path, n_vectors: int, manifest: Manifest, fix: str) -> None:
    """Raises IndexMismatchError where a FAISS file is not of so many vectors, of the encoder's length, all numbers."""
    try:
        with path.open("rb") as stream:
            kind, dimension, n = _HEADER.unpack(stream.read(_HEADER.size))
        size = path.stat().st_size
    except (OSError, struct.error) as error:
        raise IndexMismatchError(f"{path} is missing or damaged ({error})", fix) from error
    wanted = manifest.encoder.dimension
    if dimension != wanted or n != n_vectors:
        what = f"{n:,} vectors of {dimension:,} numbers, not {n_vectors:,} of {wanted:,}"
        raise IndexMismatchError(f"{path} is missing or damaged (it says that it holds {what})", fix)
    if kind not in _FLAT_KINDS:
        return
    if size != _FLAT_HEADER_BYTES + 4 * n * dimension:
        raise IndexMismatchError(f"{path} is missing or damaged ({size:,} bytes do not hold {n:,} vectors)", fix)
    vectors = np.memmap(path, np.float32, "r", _FLAT_HEADER_BYTES, (n, dimension)) if n else np.zeros((0, 1))
    lengths = np.einsum("nd,nd->n", vectors, vectors)
    if not (lengths < 1.1).all():  # at most unit length; false for what is no number, too
        raise IndexMismatchError(f"{path} is missing or damaged (a vector is none that an encoder makes)", fix)


def check_bm25(folder: Path, n_passages: int, fix: str) -> None:
    """Raises IndexMismatchError where the files of a BM25 index do not fit one another and the passages."""
    try:
        _check_bm25(folder, n_passages)
    except (*ARRAY_ERRORS, KeyError) as error:
        raise IndexMismatchError(f"{folder} is missing or damaged ({error})", fix) from error


def _check_bm25(folder: Path, n_passages: int) -> None:
    arrays = {}
    for name, kind in _ARRAYS.items():
        array = np.load(folder / f"{name}.csc.index.npy", mmap_mode="r", allow_pickle=False)
        if array.ndim != 1 or not np.issubdtype(array.dtype, kind):
            raise ValueError(f"{name} holds {array.dtype} of shape {array.shape}")
        arrays[name] = array
    data, indices, starts = arrays["data"], arrays["indices"], arrays["indptr"]
    if len(data) != len(indices) or not len(starts) or starts[0] != 0 or starts[-1] != len(data):
        raise ValueError("its files are of different lengths")
    if (np.diff(starts) < 0).any():
        raise ValueError("the starts of its words are out of order")
    if len(indices) and not 0 <= indices.min() <= indices.max() < n_passages:
        raise ValueError("it names passages that are not there")
    if not np.isfinite(data).all():
        raise ValueError("a weight is no number")
    params = json.loads((folder / "params.index.json").read_text("utf-8"))
    if params["num_docs"] != n_passages or (params["dtype"], params["int_dtype"]) != ("float32", "int32"):
        raise ValueError("it was not made for these passages")
    words = json.loads((folder / "vocab.index.json").read_text("utf-8"))
    # bm25s numbers the empty word, too, which stands in no passage, behind all others.
    if not all(type(number) is int and 0 <= number < len(starts) - (word != "") for word, number in words.items()):
        raise ValueError("a word has no place in it")
