"""The same passages in each store: a folder with an exact index, one with HNSW, Milvus embedded, and a Milvus server.

Part of `python -m benchmarks scale`. A server is measured where RAG_TEST_MILVUS names one, as http://HOST:19530.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drawn import DrawnEncoder, Watch, anew, disk, drawn, import_all, memory, rows_of
from rag.data.passages import Corpus
from rag.errors import RagError
from rag.index.faiss_store import FaissStore
from rag.index.folder import writer_lock
from rag.index.stored import open_store
from rag.index.write import build_generation
from rag.store.note import StoreNote, has_note, write_note

SERVER = "RAG_TEST_MILVUS"
N_ALONE, N_TOGETHER, N_LEXICAL, K = 50, 64, 3, 10
QUESTIONS = [f"question {number} about the value of an attribute" for number in range(N_TOGETHER)]
TIMEOUT_SECONDS = 600.0


def stores() -> list[str]:
    """The stores that can be measured here."""
    return ["faiss Flat", "faiss HNSW32", "milvus-lite", *(["milvus server"] if os.environ.get(SERVER) else [])]


def build(folder: Path, n: int, store: str) -> dict:
    """Write `n` drawn passages into a store; only the folder of a server is on this disk."""
    if store.startswith("milvus"):
        uri = os.environ[SERVER] if store == "milvus server" else ""
        name = f"rag_benchmark_{n}_{os.getpid()}"
        write_note(folder, StoreNote(name=name, uri=uri, timeout_seconds=TIMEOUT_SECONDS))
    return _made(folder, Corpus(drawn(n)), None if store.startswith("milvus") else store.split()[1])


def search(folder: Path, n: int) -> dict:
    """Opening a store, and what questions cost: alone, all at once, and by their words. Recall is of the exact ten."""
    encoder = DrawnEncoder()
    import_all()
    vectors = encoder.encode_queries(QUESTIONS)
    before, watch = memory(), Watch()
    store: Any = open_store(folder) if has_note(folder) else FaissStore(folder)
    _ = store.manifest
    store.dense(vectors[:1], K)
    row = {"open_s": watch.read("open")["open_s"]}
    alone = []
    for number in range(N_ALONE):
        started = time.perf_counter()
        store.dense(vectors[number : number + 1], K)
        alone.append(1000 * (time.perf_counter() - started))
    row |= {"p50_ms": float(np.median(alone)), "p95_ms": float(np.percentile(alone, 95))}
    watch = Watch()
    found = store.dense(vectors, K)
    row["together_ms"] = 1000 * watch.read("all")["all_s"] / N_TOGETHER
    try:
        store.lexical(QUESTIONS[:1], K)
        watch = Watch()
        for question in QUESTIONS[1 : 1 + N_LEXICAL]:
            store.lexical([question], K)
        row["words_ms"] = 1000 * watch.read("all")["all_s"] / N_LEXICAL
    except RagError:
        pass  # a server before 2.5 counts no words
    row["mib"] = memory() - before
    return row | {"recall": _recall(found, vectors, n)}


def _recall(found: list, vectors: np.ndarray, n: int) -> float:
    """The mean share of the exact ten nearest passages that were found."""
    encoder, ids, blocks = DrawnEncoder(), [], []
    passages = list(drawn(n))
    for start in range(0, n, 10_000):
        some = passages[start : start + 10_000]
        ids += [passage.id for passage in some]
        blocks.append(vectors @ encoder.encode_passages([passage.content for passage in some])[0].T)
    exact = np.argsort(-np.concatenate(blocks, axis=1), axis=1)[:, :K]
    shares = [
        len({pid for pid, _ in hits} & {ids[row] for row in rows}) / K
        for hits, rows in zip(found, exact.tolist(), strict=True)
    ]
    return float(np.mean(shares))


def change(folder: Path, n: int, n_changed: int) -> dict:
    """Change so many passages, each in a document of its own; the store is given all, and finds out which."""
    passages = list(drawn(n))
    for row in rows_of(n, n_changed):
        passages[row] = anew(passages[row])
    return _made(folder, Corpus(passages), None)


def _made(folder: Path, corpus: Corpus, factory: str | None) -> dict:
    encoder = DrawnEncoder()
    import_all()
    watch = Watch()
    with writer_lock(folder):
        build_generation(corpus, folder, encoder, documents=[], language="english", factory=factory)
    return watch.read("all") | {"encoded": encoder.encoded, "disk_mib": disk(folder)}


def table(rows: list[dict]) -> str:
    """The rows of all stores, in Markdown: a column for each figure."""
    columns = {
        "passages": "passages",
        "store": "store",
        "build_s": "build, s",
        "open_s": "open and first question, s",
        "p50_ms": "a question alone, ms",
        "p95_ms": "p95, ms",
        "together_ms": "64 at once, ms each",
        "words_ms": "by words, ms",
        "recall": "recall@10",
        "mib": "memory, MiB",
        "disk_mib": "disk, MiB",
        "change_1_s": "1 changed, s",
        "change_100_s": "100 changed, s",
    }
    lines = [" | ".join(columns.values()), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_shown(row.get(key)) for key in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _shown(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else str(value or "")
