"""Measure how the local store grows: opening an index, searching it, and changing one passage and a hundred.

    python -m benchmarks scale [PASSAGES]…       10,000 and 100,000 where none is named
    python -m benchmarks scale --open 1000000    opening and searching alone

Passages are drawn: words by their frequency in the sample corpus, vectors around 200 centres. More than 100,000 are
several times the same ones, with other ids and vectors. The encoder is a stand-in, so the seconds are those of
everything else: `_s` on the clock, `_cpu_s` of computing. Each row is measured in a process of its own; `mib` is how
much memory it took beyond what it had with everything imported.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rag.compute.quiet import quiet_libraries
from rag.data.embedded import embedded_corpus
from rag.data.passages import Corpus
from rag.data.stored import ChangedCorpus
from rag.index.read import open_index
from rag.retrieve.encoder import EncoderFingerprint
from rag.types import Passage

WORDS, PASSAGES_A_DOCUMENT, DIMENSION, N_CENTRES = 60, 20, 384, 200
MOST_DRAWN = 100_000
QUESTIONS = ["How is a class defined?", "the value of an attribute", "exceptions that are raised by an import"]


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


def build(folder: Path, n: int) -> dict:
    if n <= MOST_DRAWN:
        return _made(folder, Corpus(drawn(n)), DrawnEncoder())
    with tempfile.TemporaryDirectory() as scratch:
        _made(Path(scratch) / "index", Corpus(drawn(MOST_DRAWN)), DrawnEncoder())
        watch = Watch()
        multiply(Path(scratch) / "index", folder, n // MOST_DRAWN)
    return watch.read("all") | {"disk_mib": _disk(folder)}


def opened(folder: Path, n: int) -> dict:
    """Opening the passages; then vectors and BM25, too; then the first question, and later ones."""
    from rag.retrieve.dense import DenseRetriever
    from rag.retrieve.hybrid import HybridRetriever

    encoder = DrawnEncoder()
    _import_all()
    before, watch = _memory(), Watch()
    index = open_index(folder)
    row = {**watch.read("passages"), "passages_mib": _memory() - before}
    dense = DenseRetriever(encoder, index.vectors(), index.corpus, windows=index.windows())
    hybrid = HybridRetriever({"dense": dense, "bm25": index.bm25()})
    row |= {**watch.read("all"), "all_mib": _memory() - before}
    watch = Watch()
    hybrid.retrieve(QUESTIONS[:1], 10)
    row |= watch.read("first_question")
    watch = Watch()
    for question in QUESTIONS * 3:
        hybrid.retrieve([question], 10)
    return row | {"question_cpu_ms": 1000 * watch.read("q")["q_cpu_s"] / len(QUESTIONS) / 3, "mib": _memory() - before}


def changed(folder: Path, n: int) -> dict:
    """Change so many passages, each in a document of its own; the store is told which."""
    base = open_index(folder).corpus
    origin = np.arange(len(base))
    rows = _rows(len(base), n)
    origin[rows] = -1
    return _made(folder, ChangedCorpus(base, origin, [_anew(base[row]) for row in rows]), DrawnEncoder())


def given(folder: Path, n: int) -> dict:
    """The same, but the store is given all passages, and finds out which have changed."""
    passages = list(open_index(folder).corpus)
    for row in _rows(len(passages), n):
        passages[row] = _anew(passages[row])
    return _made(folder, Corpus(passages), DrawnEncoder())


def _rows(n_passages: int, n: int) -> list[int]:
    step = n_passages // n
    return list(range(step // 2, step // 2 + step * n, step))


def _anew(passage: Passage) -> Passage:
    return dataclasses.replace(passage, text=f"{passage.text} changed {time.time_ns()}")


def _made(folder: Path, corpus: Corpus, encoder: DrawnEncoder) -> dict:
    from rag.index.folder import writer_lock
    from rag.index.write import build_generation

    _import_all()
    watch = Watch()
    with writer_lock(folder):
        build_generation(corpus, folder, encoder, documents=[], language="english")
    return watch.read("all") | {"encoded": encoder.encoded, "disk_mib": _disk(folder)}


class Watch:
    """Seconds since it was made: on the clock, and of computing."""

    def __init__(self) -> None:
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def read(self, what: str) -> dict[str, float]:
        cpu = time.process_time() - self._cpu
        return {f"{what}_s": time.perf_counter() - self._clock, f"{what}_cpu_s": cpu}


def _import_all() -> None:
    """What everything imports is no cost of an index."""
    from rag.retrieve.bm25 import BM25Retriever
    from rag.retrieve.vectors import FaissIndex

    index = FaissIndex(4)
    index.add(np.eye(4, dtype=np.float32))
    index.search(np.eye(4, dtype=np.float32), 2)
    BM25Retriever(Corpus([Passage("a", "a word"), Passage("b", "another")])).retrieve(["word"], 1)


def _memory() -> float:
    """MiB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _disk(folder: Path) -> float:
    """MiB on the disk; what two generations share counts once."""
    files = {(s.st_dev, s.st_ino): s.st_blocks * 512 for p in folder.rglob("*") if p.is_file() for s in [p.stat()]}
    return sum(files.values()) / 2**20


def multiply(small: Path, folder: Path, times: int) -> None:
    """An index of the passages of another, `times` over."""
    from rag.data.stored import described, digest_of, write_table
    from rag.index.folder import current_generation, switch_to
    from rag.index.parts import BM25, PASSAGES, TABLE, VECTORS, parts_of, write_manifest
    from rag.retrieve.vectors import FaissIndex

    corpus, (generation, manifest), encoder = open_index(small).corpus, current_generation(small), DrawnEncoder()
    building = folder / "building"
    (building / BM25).mkdir(parents=True)
    copies = (dataclasses.replace(passage, id=f"{n}{passage.id}") for n in range(times) for passage in corpus)
    lines, ids = described(copies, path=building / PASSAGES)
    write_table(building / TABLE, lines, ids)
    index = FaissIndex(DIMENSION)
    for start in range(0, len(ids), 10_000):
        index.add(encoder._vectors([str(number) for number in ids[start : start + 10_000].tolist()]))
    index.save(building / VECTORS)
    _multiply_bm25(generation / BM25, building / BM25, len(corpus), times)
    made = dataclasses.replace(manifest, n_passages=len(ids), corpus_sha256=digest_of(lines))
    write_manifest(building, made, parts_of(building))
    switch_to(folder, building, made, previous=None)


def _multiply_bm25(small: Path, folder: Path, n: int, times: int) -> None:
    """Every passage again behind the last one, and every weight as it is among so many."""
    from rag.retrieve.counts import COUNTS, LENGTHS

    arrays = {name: np.load(small / f"{name}.csc.index.npy") for name in ("data", "indices", "indptr")}
    counts, lengths, starts = np.load(small / COUNTS), np.load(small / LENGTHS), arrays["indptr"].astype(np.int64)
    n_with = np.diff(starts)
    # Where each entry of each copy of a word's list goes.
    at = np.concatenate(
        [
            starts[:-1].repeat(n_with) * (times - 1) + np.arange(starts[-1]) + n_with.repeat(n_with) * c
            for c in range(times)
        ]
    )
    passages = np.concatenate([arrays["indices"].astype(np.int64) + n * c for c in range(times)])
    rarity = np.log(1 + (n * times - n_with * times + 0.5) / (n_with * times + 0.5)).astype(np.float32).repeat(n_with)
    long = 1.5 * (0.25 + 0.75 * lengths[arrays["indices"]] / lengths.mean())
    weights = (rarity * (counts / (long + counts))).astype(np.float32)
    for name, values in (("indices", passages), ("data", np.tile(weights, times)), (COUNTS, np.tile(counts, times))):
        ordered = np.empty(len(values), {"indices": np.int32, "data": np.float32}.get(name, counts.dtype))
        ordered[at] = values
        np.save(folder / (name if name == COUNTS else f"{name}.csc.index.npy"), ordered)
    np.save(folder / "indptr.csc.index.npy", (starts * times).astype(arrays["indptr"].dtype))
    np.save(folder / LENGTHS, np.tile(lengths, times))
    (folder / "vocab.index.json").write_bytes((small / "vocab.index.json").read_bytes())
    params = json.loads((small / "params.index.json").read_text("utf-8"))
    (folder / "params.index.json").write_text(json.dumps({**params, "num_docs": n * times}), "utf-8")


STEPS = {"build": build, "open": opened, "change": changed, "change, all given": given}


def _in_own_process(step: str, folder: Path, n: int) -> dict:
    command = [sys.executable, "-m", "benchmarks.scale", "--step", step, str(folder), str(n)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--step"]:
        step, folder, n = arguments[1:]
        quiet_libraries()
        found = STEPS[step](Path(folder), int(n))
        print(json.dumps({key: round(value, 3) for key, value in found.items()}))
        return
    parser = argparse.ArgumentParser(prog="benchmarks scale", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--open", action="store_true", help="do not change anything")
    parser.add_argument("--folder", type=Path, help="keep the indexes below this folder, and use those that are there")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        for n in chosen.sizes:
            folder = (chosen.folder or Path(scratch)) / str(n)
            if not folder.exists():
                print(json.dumps({"passages": n, "step": "build", **_in_own_process("build", folder, n)}), flush=True)
                time.sleep(3)  # the hash of a file that has just changed is not remembered
            changes = [("change", 1), ("change", 1), ("change", 100), ("change, all given", 1)]
            for step, size in [("open", 0), ("open", 0), *([] if chosen.open else changes)]:
                found = _in_own_process(step, folder, size)
                print(json.dumps({"passages": n, "step": step, "changed": size, **found}), flush=True)
            if not chosen.open:
                print(json.dumps({"passages": n, "step": "open", **_in_own_process("open", folder, 0)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
