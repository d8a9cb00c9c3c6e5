"""What benchmarks of stores share: drawn passages and vectors, and what a step takes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rag.data.embedded import embedded_corpus
from rag.data.passages import Corpus
from rag.retrieve.encoder import EncoderFingerprint
from rag.types import Passage

WORDS, PASSAGES_A_DOCUMENT, DIMENSION, N_CENTRES = 60, 20, 384, 200


class DrawnEncoder:
    """Stand-in for an encoder: a unit vector near one of some centres, drawn from a text's hash."""

    def __init__(self) -> None:
        self.fingerprint = EncoderFingerprint("0" * 64, "query: ", "passage: ", "mean", 300, DIMENSION)
        self.room_tokens, self.encoded = 290, 0
        self._centres = np.random.default_rng(1).standard_normal((N_CENTRES, DIMENSION), np.float32)
        # A draw for each text would take longer than all that is measured: noise is a cut of one long draw.
        self._noise = np.random.default_rng(2).standard_normal(1 << 20, np.float32)

    def encode_passages(self, texts, label="", advance=None):
        self.encoded += len(texts)
        return self._vectors(texts), 0

    def encode_queries(self, texts, label=""):
        return self._vectors(texts)

    def count_cut(self, texts):
        return 0

    def _vectors(self, texts) -> np.ndarray:
        seeds = np.array([int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) for text in texts])
        starts = seeds % (len(self._noise) - DIMENSION)
        vectors = self._centres[seeds % N_CENTRES] + self._noise[starts[:, None] + np.arange(DIMENSION)]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def drawn(n: int) -> Iterator[Passage]:
    """`n` passages, twenty a document."""
    draw = np.random.default_rng(0)
    words = np.array(" ".join(passage.text for passage in embedded_corpus()).split(), object)
    for start in range(0, n, 1000):
        for number, chosen in enumerate(words[draw.integers(len(words), size=(min(1000, n - start), WORDS))], start):
            document, position = divmod(number, PASSAGES_A_DOCUMENT)
            yield Passage(f"d{document}@{position}", " ".join(chosen), f"Document {document}", f"{document}.txt")


def rows_of(n_passages: int, n: int) -> list[int]:
    step = n_passages // n
    return list(range(step // 2, step // 2 + step * n, step))


def anew(passage: Passage) -> Passage:
    return dataclasses.replace(passage, text=f"{passage.text} changed {time.time_ns()}")


class Watch:
    """Seconds since it was made: on the clock, and of computing."""

    def __init__(self) -> None:
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def read(self, what: str) -> dict[str, float]:
        cpu = time.process_time() - self._cpu
        return {f"{what}_s": time.perf_counter() - self._clock, f"{what}_cpu_s": cpu}


def import_all() -> None:
    """What everything imports is no cost of an index."""
    from rag.retrieve.bm25 import BM25Retriever
    from rag.retrieve.vectors import FaissIndex

    index = FaissIndex(4)
    index.add(np.eye(4, dtype=np.float32))
    index.search(np.eye(4, dtype=np.float32), 2)
    BM25Retriever(Corpus([Passage("a", "a word"), Passage("b", "another")])).retrieve(["word"], 1)


def memory() -> float:
    """MiB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def disk(folder: Path) -> float:
    """MiB on the disk; what two generations share counts once."""
    files = {(s.st_dev, s.st_ino): s.st_blocks * 512 for p in folder.rglob("*") if p.is_file() for s in [p.stat()]}
    return sum(files.values()) / 2**20
