"""Compare vector indexes: flat, HNSW and IVF over the vectors of an index, and over a million drawn around them.

    python -m benchmarks.indexes INDEX QUESTIONS [-n VECTORS]… [--set encoder.model=…]

For every size: recall of the exact ten and fifty, milliseconds per question (asked alone, and all in one call), seconds
to build, and the size on disk, which is also the memory it takes. Where more vectors are asked for than the index has,
noisy copies are added: of unit length, with a cosine of about .9 to their original.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from rag.build.parts import make_encoder
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.questions import load_questions, sample_questions
from rag.index.read import open_index
from rag.retrieve.vectors import FaissIndex

N_QUESTIONS = 500
NOISE = 0.5  # relative to unit length: cosine 1 / sqrt(1 + NOISE^2) = .89
SEARCHES = {
    "Flat": [{}],
    "HNSW32": [{"ef_search": n} for n in (64, 128, 256)],
    "IVF1024,Flat": [{"nprobe": n} for n in (8, 32, 64)],
    "IVF4096,Flat": [{"nprobe": n} for n in (8, 32, 64)],
}


def grown(vectors: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """(n, d): the vectors, then noisy copies of them until there are n."""
    draw = np.random.default_rng(seed)
    found = np.empty((n, vectors.shape[1]), np.float32)
    for start in range(0, n, len(vectors)):
        part = vectors[: min(len(vectors), n - start)].copy()
        if start:
            part += draw.standard_normal(part.shape, np.float32) * np.float32(NOISE / np.sqrt(part.shape[1]))
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        found[start : start + len(part)] = part
    return found


def measure(vectors: np.ndarray, queries: np.ndarray, folder: Path) -> None:
    """Print one JSON line for each kind of index and each way to search it."""
    exact: np.ndarray | None = None
    for factory, ways in SEARCHES.items():
        if factory.startswith("IVF4096") and len(vectors) < 64 * 4096:
            continue
        started = time.perf_counter()
        index = FaissIndex(vectors.shape[1], factory)
        index.train(vectors)
        index.add(vectors)
        built = time.perf_counter() - started
        index.save(folder / "index")
        size = (folder / "index").stat().st_size / 2**20
        for way in ways:
            index._tune(way.get("nprobe", 32), way.get("ef_search", 128))
            index.search(queries[:8], 50)
            started = time.perf_counter()
            _, rows = index.search(queries, 50)
            together = time.perf_counter() - started
            started = time.perf_counter()
            for query in queries[:100]:
                index.search(query[None], 50)
            alone = time.perf_counter() - started
            exact = rows if exact is None else exact
            recall = {f"recall@{k}": round(_recall(exact[:, :k], rows[:, :k]), 4) for k in (10, 50)}
            row = {"vectors": len(vectors), "factory": factory, **way, **recall}
            row |= {"ms alone": round(10 * alone, 2), "ms together": round(1000 * together / len(queries), 3)}
            print(json.dumps({**row, "build s": round(built, 1), "MiB": round(size)}), flush=True)


def _recall(exact: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean([np.isin(wanted, rows).mean() for wanted, rows in zip(exact, found, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument(
        "-n", type=int, action="append", help="how many vectors; default: those of the index, then a million"
    )
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    arguments = parser.parse_args()
    quiet_libraries()
    encoder = make_encoder(load_settings(None, arguments.set))
    opened = open_index(arguments.index)
    opened.check_encoder(encoder.fingerprint)
    questions = sample_questions(load_questions(arguments.questions), N_QUESTIONS)
    queries = encoder.encode_queries([question.rewrite for question in questions])
    own = opened.vectors().vectors(range(len(opened.corpus)))
    for n in arguments.n or [len(own), 1_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            measure(grown(own, n), queries, Path(folder))


if __name__ == "__main__":
    main()
