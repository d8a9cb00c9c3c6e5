"""The same passages in each store: a folder with an exact index, one with HNSW, Milvus embedded, and a Milvus server.

Part of `python -m benchmarks scale`. A server is measured where RAG_TEST_MILVUS names one, as http://HOST:19530.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

from benchmarks.drawn import (
    PASSAGES_A_DOCUMENT,
    DrawnEncoder,
    Watch,
    anew,
    disk,
    drawn,
    import_all,
    memory,
    rows_of,
)
from rag.data.passages import Corpus
from rag.data.pieces import Pieces
from rag.errors import RagError
from rag.index.faiss_store import FaissStore
from rag.index.folder import writer_lock
from rag.index.follow import passages_of_documents
from rag.index.read import open_index
from rag.index.stored import open_store
from rag.index.write import build_generation
from rag.store.note import StoreNote, has_note, write_note

SERVER, SERVER_STORE = "RAG_TEST_MILVUS", "milvus server"
N_ALONE, N_TOGETHER, N_LEXICAL, K = 50, 64, 3, 10
QUESTIONS = [f"question {number} about the value of an attribute" for number in range(N_TOGETHER)]
TIMEOUT_SECONDS = 600.0


class Both(Watch):
    """As `Watch`; what a server on this machine has computed counts, too."""

    def __init__(self, store: str) -> None:
        self._store, self._before = store, computed_by_server(store)
        super().__init__()

    def read(self, what: str) -> dict[str, float]:
        row = super().read(what)
        return row | {f"{what}_cpu_s": row[f"{what}_cpu_s"] + computed_by_server(self._store) - self._before}


def computed_by_server(store: str) -> float:
    """Seconds that the server on this machine has computed since it was started; 0 for other stores."""
    server = _server() if store == SERVER_STORE else None
    times = server.cpu_times() if server else None
    return times.user + times.system if times else 0.0


def _server() -> psutil.Process | None:
    """The process that listens at the address of the server, where it is one of this machine."""
    port = urlsplit(os.environ[SERVER]).port
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
            return psutil.Process(one.pid)
    return None


def stores() -> list[str]:
    """The stores that can be measured here."""
    return ["faiss Flat", "faiss HNSW32", "milvus-lite", *([SERVER_STORE] if os.environ.get(SERVER) else [])]


def build(folder: Path, n: int, store: str) -> dict:
    """Write `n` drawn passages into a store; only the folder of a server is on this disk."""
    if store.startswith("milvus") and not has_note(folder):
        uri = os.environ[SERVER] if store == SERVER_STORE else ""
        name = f"rag_benchmark_{n}_{os.getpid()}"
        write_note(folder, StoreNote(name=name, uri=uri, timeout_seconds=TIMEOUT_SECONDS))
    corpus = Corpus(drawn(n))
    import_all()
    return _made(folder, corpus, documents(n), store, DrawnEncoder(), Both(store))


def search(folder: Path, n: int, store: str) -> dict:
    """Opening a store, and what questions cost: alone, all at once, and by their words. Recall is of the exact ten."""
    encoder = DrawnEncoder()
    import_all()
    vectors = encoder.encode_queries(QUESTIONS)
    before, watch = memory(), Watch()
    opened: Any = open_store(folder) if has_note(folder) else FaissStore(folder)
    _ = opened.manifest
    opened.dense(vectors[:1], K)
    row = watch.read("open")
    alone, watch = [], Both(store)
    for number in range(N_ALONE):
        started = time.perf_counter()
        opened.dense(vectors[number : number + 1], K)
        alone.append(1000 * (time.perf_counter() - started))
    row |= {"p50_ms": float(np.median(alone)), "p95_ms": float(np.percentile(alone, 95))}
    row["alone_cpu_ms"] = 1000 * watch.read("all")["all_cpu_s"] / N_ALONE
    watch = Both(store)
    found = opened.dense(vectors, K)
    row["together_cpu_ms"] = 1000 * watch.read("all")["all_cpu_s"] / N_TOGETHER
    try:
        opened.lexical(QUESTIONS[:1], K)
        watch = Both(store)
        for question in QUESTIONS[1 : 1 + N_LEXICAL]:
            opened.lexical([question], K)
        row["words_cpu_ms"] = 1000 * watch.read("all")["all_cpu_s"] / N_LEXICAL
    except RagError:
        pass  # a server before 2.5 counts no words
    row["mib"] = memory() - before
    if store == SERVER_STORE and (server := _server()) is not None:
        row["server_mib"] = server.memory_info().rss / 2**20
    return row | {"recall": _recall(found, vectors, n)}


def _recall(found: list, vectors: np.ndarray, n: int) -> float:
    """The mean share of the exact ten nearest passages that were found."""
    encoder, ids, blocks, passages = DrawnEncoder(), [], [], drawn(n)
    while some := list(itertools.islice(passages, 10_000)):
        ids += [passage.id for passage in some]
        blocks.append(vectors @ encoder.encode_passages([passage.content for passage in some])[0].T)
    exact = np.argpartition(-np.concatenate(blocks, axis=1), K, axis=1)[:, :K]
    shares = [
        len({pid for pid, _ in hits} & {ids[row] for row in rows}) / K
        for hits, rows in zip(found, exact.tolist(), strict=True)
    ]
    return float(np.mean(shares))


def change(folder: Path, n: int, store: str, n_changed: int) -> dict:
    """Change so many passages, each in a document of its own; the store is told which, as by `rag ingest`."""
    import_all()
    watch, rows, changed, encoder = Both(store), documents(n), Pieces(), DrawnEncoder()
    own = passages_of_documents(open_index(folder).corpus, rows)
    touched = {row // PASSAGES_A_DOCUMENT: row % PASSAGES_A_DOCUMENT for row in rows_of(n, n_changed)}
    for number, row in enumerate(rows):
        if number not in touched:
            changed.take(own[row["sha256"]])
            continue
        passages = list(own[row["sha256"]])
        passages[touched[number]] = anew(passages[touched[number]])
        changed.take(passages)
        row["n_characters"] += time.time_ns()  # its record changes with it
    return _made(folder, changed.corpus(), rows, store, encoder, watch)


def documents(n: int) -> list[dict]:
    """The records of the documents of `n` drawn passages."""
    paths = {"size": 0, "modified": 0.0}
    return [
        {
            "sha256": f"d{number}",
            "kind": "text",
            "title": f"Document {number}",
            "paths": ({"root": "/", "path": f"{number}.txt", "sha256": f"d{number}", **paths},),
            "n_passages": min(PASSAGES_A_DOCUMENT, n - number * PASSAGES_A_DOCUMENT),
            "n_characters": 0,
            "chunking": {},
            "minhash": (),
            "notes": (),
            "ocr": None,
        }
        for number in range(-(-n // PASSAGES_A_DOCUMENT))
    ]


def _made(folder: Path, corpus: Corpus, rows: list[dict], store: str, encoder: DrawnEncoder, watch: Both) -> dict:
    factory = None if store.startswith("milvus") else store.split()[1]
    with writer_lock(folder):
        build_generation(corpus, folder, encoder, documents=rows, language="english", factory=factory)
    return watch.read("all") | {"encoded": encoder.encoded, "disk_mib": disk(folder)}


COLUMNS = {
    "passages": "passages",
    "store": "store",
    "build_s": "build, s on the clock",
    "build_cpu_s": "build, s of computing",
    "open_s": "open and first question, s",
    "p50_ms": "a question alone, ms",
    "alone_cpu_ms": "the same, computing",
    "together_cpu_ms": "64 at once, ms of computing each",
    "words_cpu_ms": "by words, ms of computing",
    "recall": "recall@10",
    "mib": "memory, MiB",
    "server_mib": "of the server, MiB",
    "disk_mib": "disk, MiB",
    "change_1_cpu_s": "1 changed, s of computing",
    "change_100_cpu_s": "100 changed, s of computing",
}


def table(measured: Sequence[Mapping]) -> str:
    """The figures of all stores, in Markdown: a row for each size of a store."""
    rows: dict[tuple, dict] = {}
    for found in measured:
        row = rows.setdefault((found["passages"], found["store"]), {})
        row |= {key: value for key, value in found.items() if key in COLUMNS and key not in row}
        step = found["step"].replace(" ", "_")
        for kind in ("s", "cpu_s") if step != "search" else ():
            # A build goes on where it was ended; what was ended and never done is so long at least.
            before = row.get(f"{step}_{kind}", 0.0) if step == "build" else 0.0
            row[f"{step}_{kind}"] = before + found.get(f"all_{kind}", found.get(f"stopped_{kind}", 0.0))
        row[f"ended {step}"] = "all_s" not in found
    lines = [" | ".join(COLUMNS.values()), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(_shown(rows[size], key) for key in COLUMNS) for size in sorted(rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _shown(row: Mapping, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value or "")
    is_ended = row.get(f"ended {key.removesuffix('_s').removesuffix('_cpu')}")
    return f"{'> ' if is_ended else ''}{value:,.2f}"
