"""Measure how each store grows: building an index, opening it, searching it, changing one passage and a hundred.

    python -m benchmarks scale [PASSAGES]…         10,000 and 100,000 where none is named: a table over all stores
    python -m benchmarks scale --stores "faiss Flat" milvus-lite -- 10000        over some of them
    python -m benchmarks scale --folder KEPT --minutes 9 1000000        ends after 9 minutes, and goes on where it was
    python -m benchmarks scale --local [PASSAGES]…         the local store alone, step by step
    python -m benchmarks scale --local --open 1000000      opening and searching alone

Passages are drawn: words by their frequency in the sample corpus, vectors around 200 centres. More than 100,000 are
several times the same ones, with other ids and vectors. The encoder is a stand-in, so the seconds are those of
everything else: `_s` on the clock, `_cpu_s` of computing, that of a server with it. Each row is measured in a process
of its own; `mib` is how much memory it took beyond what it had with everything imported.

With `--folder`, indexes and figures (`measured.jsonl`) are kept: what is measured is not measured again, and the table
is of everything that was. A step that `--minutes` ended is begun again by the same command; a build goes on where it
was, and its seconds are those of all its parts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import stores
from benchmarks.drawn import DIMENSION, DrawnEncoder, Watch, anew, disk, drawn, import_all, memory, rows_of
from rag.compute.quiet import quiet_libraries
from rag.data.passages import Corpus
from rag.data.stored import ChangedCorpus
from rag.index.read import open_index

MOST_DRAWN = 100_000
MEASURED, STOPPED = "measured.jsonl", "stopped_s"
STORE_STEPS: dict[str, tuple] = {"build": (), "search": (), "change 1": (1,), "change 100": (100,)}
QUESTIONS = ["How is a class defined?", "the value of an attribute", "exceptions that are raised by an import"]


def build(folder: Path, n: int) -> dict:
    if n <= MOST_DRAWN:
        return _made(folder, Corpus(drawn(n)), DrawnEncoder())
    with tempfile.TemporaryDirectory() as scratch:
        _made(Path(scratch) / "index", Corpus(drawn(MOST_DRAWN)), DrawnEncoder())
        watch = Watch()
        multiply(Path(scratch) / "index", folder, n // MOST_DRAWN)
    return watch.read("all") | {"disk_mib": disk(folder)}


def opened(folder: Path, n: int) -> dict:
    """Opening the passages; then vectors and BM25, too; then the first question, and later ones."""
    from rag.retrieve.dense import DenseRetriever
    from rag.retrieve.hybrid import HybridRetriever

    encoder = DrawnEncoder()
    import_all()
    before, watch = memory(), Watch()
    index = open_index(folder)
    row = {**watch.read("passages"), "passages_mib": memory() - before}
    dense = DenseRetriever(encoder, index.vectors(), index.corpus, windows=index.windows())
    hybrid = HybridRetriever({"dense": dense, "bm25": index.bm25()})
    row |= {**watch.read("all"), "all_mib": memory() - before}
    watch = Watch()
    hybrid.retrieve(QUESTIONS[:1], 10)
    row |= watch.read("first_question")
    watch = Watch()
    for question in QUESTIONS * 3:
        hybrid.retrieve([question], 10)
    return row | {"question_cpu_ms": 1000 * watch.read("q")["q_cpu_s"] / len(QUESTIONS) / 3, "mib": memory() - before}


def changed(folder: Path, n: int) -> dict:
    """Change so many passages, each in a document of its own; the store is told which."""
    base = open_index(folder).corpus
    origin = np.arange(len(base))
    rows = rows_of(len(base), n)
    origin[rows] = -1
    return _made(folder, ChangedCorpus(base, origin, [anew(base[row]) for row in rows]), DrawnEncoder())


def given(folder: Path, n: int) -> dict:
    """The same, but the store is given all passages, and finds out which have changed."""
    passages = list(open_index(folder).corpus)
    for row in rows_of(len(passages), n):
        passages[row] = anew(passages[row])
    return _made(folder, Corpus(passages), DrawnEncoder())


def _made(folder: Path, corpus: Corpus, encoder: DrawnEncoder) -> dict:
    from rag.index.folder import writer_lock
    from rag.index.write import build_generation

    import_all()
    watch = Watch()
    with writer_lock(folder):
        build_generation(corpus, folder, encoder, documents=[], language="english")
    return watch.read("all") | {"encoded": encoder.encoded, "disk_mib": disk(folder)}


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


def _in_own_process(step: str, folder: Path, *words: object, seconds: float = 86_400) -> dict:
    """What a step measured. Raises TimeoutExpired, and ends it, after so many seconds."""
    command = [sys.executable, "-m", "benchmarks.scale", "--step", step, str(folder), *map(str, words)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=max(seconds, 0.0))
    return json.loads(ran.stdout.splitlines()[-1])


def _step(step: str, folder: Path, words: list[str]) -> dict:
    if step == "store: build":
        return stores.build(folder, int(words[0]), words[1])
    if step == "store: search":
        return stores.search(folder, int(words[0]), words[1])
    if step == "store: change":
        return stores.change(folder, int(words[0]), words[1], int(words[2]))
    return STEPS[step](folder, int(words[0]))


def in_each_store(n: int, names: list[str], kept: Path, end: float) -> None:
    """Measure what building, searching and changing `n` passages take in each store, as far as nobody has yet.

    What runs at `end`, by the monotonic clock, is ended.
    """
    measured = kept / MEASURED
    for name in names:
        folder = kept / f"{name}-{n}".replace(" ", "-")
        for step, words in STORE_STEPS.items():
            row = {"passages": n, "store": name, "step": step}
            if any(row.items() <= found.items() and STOPPED not in found for found in _read(measured)):
                continue
            started, computed = time.monotonic(), _computed(name)
            try:
                row |= _in_own_process(
                    f"store: {step.split()[0]}", folder, n, name, *words, seconds=end - time.monotonic()
                )
            except subprocess.TimeoutExpired:
                row[STOPPED] = round(time.monotonic() - started, 1)
                row["stopped_cpu_s"] = round(_computed(name) - computed, 1)
            with measured.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
            if STOPPED in row:
                return
            time.sleep(3)  # the hash of a file that has just changed is not remembered


def _computed(store: str) -> float:
    """Seconds that the steps that ended and the server have computed."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime + stores.computed_by_server(store)


def _read(measured: Path) -> list[dict]:
    return [json.loads(line) for line in measured.read_text("utf-8").splitlines()] if measured.exists() else []


def local(sizes: list[int], kept: Path | None, scratch: Path, *, only_open: bool) -> None:
    """Print each step over the local store."""
    for n in sizes:
        folder = (kept or scratch) / str(n)
        if not folder.exists():
            print(json.dumps({"passages": n, "step": "build", **_in_own_process("build", folder, n)}), flush=True)
            time.sleep(3)  # the hash of a file that has just changed is not remembered
        changes = [("change", 1), ("change", 1), ("change", 100), ("change, all given", 1)]
        for step, size in [("open", 0), ("open", 0), *([] if only_open else changes)]:
            found = _in_own_process(step, folder, size)
            print(json.dumps({"passages": n, "step": step, "changed": size, **found}), flush=True)
        if not only_open:
            print(json.dumps({"passages": n, "step": "open", **_in_own_process("open", folder, 0)}), flush=True)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--step"]:
        step, folder, *words = arguments[1:]
        quiet_libraries()
        found = _step(step, Path(folder), words)
        print(json.dumps({key: round(value, 3) for key, value in found.items()}))
        return
    parser = argparse.ArgumentParser(prog="benchmarks scale", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--stores", nargs="*", default=stores.stores(), choices=stores.stores(), help="measure these")
    parser.add_argument("--local", action="store_true", help="the local store alone, step by step")
    parser.add_argument("--open", action="store_true", help="with --local: do not change anything")
    parser.add_argument("--folder", type=Path, help="keep indexes and figures below this folder, and use them")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="end after so many minutes")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.local:
            local(chosen.sizes, chosen.folder, Path(scratch), only_open=chosen.open)
            return
        kept = chosen.folder or Path(scratch)
        kept.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + 60 * chosen.minutes
        for n in chosen.sizes:
            if time.monotonic() < end:
                in_each_store(n, chosen.stores, kept, end)
        print(f"\n{stores.table(_read(kept / MEASURED))}")


if __name__ == "__main__":
    main(sys.argv[1:])
