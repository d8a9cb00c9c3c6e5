"""Measure what an update costs: 1, 100 and 10,000 of 100,000 passages change, or none does.

    python -m benchmarks.updates [PASSAGES]

A folder of Markdown files is written, ingested, changed and ingested again. The encoder is a stand-in whose vectors are
drawn from a passage's hash, so the seconds are those of everything else. A real encoder adds the number of passages
encoded, which is printed, divided by its rate (`python -m benchmarks encode`).
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rag.build import indexes
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.embedded import embedded_corpus
from rag.retrieve.encoder import EncoderFingerprint

SECTIONS_A_FILE = 100
WORDS_A_SECTION = 90


class HashEncoder:
    """Stand-in for an encoder: a unit vector from each passage's hash, one token per word; counts what it encodes."""

    def __init__(self) -> None:
        self.fingerprint = EncoderFingerprint("0" * 64, "query: ", "passage: ", "mean", 300, 384)
        self.room_tokens = 290
        self.encoded = 0

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode_passages(self, texts, label="", advance=None):
        self.encoded += len(texts)
        seeds = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in texts]
        vectors = np.stack([np.random.default_rng(seed).standard_normal(384, np.float32) for seed in seeds])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0


class Folder:
    """Files of sections whose words are drawn from the sample corpus, as often as they occur there."""

    def __init__(self, root: Path, n_files: int):
        self.root, self.n_files, self._rng = root, n_files, np.random.default_rng(0)
        self._words = np.array(" ".join(passage.text for passage in embedded_corpus()).split())
        self.sections = [[self._text() for _ in range(SECTIONS_A_FILE)] for _ in range(n_files)]
        for n in range(n_files):
            self.write(n)

    def _text(self) -> str:
        return " ".join(self._rng.choice(self._words, WORDS_A_SECTION)).replace("#", "")

    def write(self, n: int) -> None:
        body = "\n\n".join(f"## Section {m}\n\n{text}" for m, text in enumerate(self.sections[n]))
        (self.root / f"{n:05}.md").write_text(f"# File {n}\n\n{body}\n", "utf-8")

    def change(self, n_sections: int) -> None:
        """Give `n_sections` sections new words: one section of each file, or if there are more, whole files."""
        per_file = 1 if n_sections <= self.n_files else SECTIONS_A_FILE
        for n in range(-(-n_sections // per_file)):
            for m in range(per_file):
                self.sections[n][m] = self._text()
            self.write(n)


def main(n_passages: int) -> None:
    quiet_libraries()
    encoder = HashEncoder()
    indexes.make_encoder = lambda settings, lazy: encoder
    settings = load_settings(None, [f"documents.chunk_tokens={WORDS_A_SECTION + 20}"])
    with tempfile.TemporaryDirectory() as folder:
        root, index = Path(folder) / "documents", Path(folder) / "index"
        root.mkdir()
        documents = Folder(root, n_passages // SECTIONS_A_FILE)
        whole = None
        for changed in ("all", 0, 1, 100, 10_000):
            if isinstance(changed, int):
                documents.change(changed)
            encoder.encoded, started, cpu = 0, time.perf_counter(), time.process_time()
            result = indexes.ingest_documents(settings, [root], index)
            seconds = time.perf_counter() - started
            whole = whole or seconds
            row = {"changed": changed, "passages": result.n_passages, "encoded": encoder.encoded}
            row |= {"seconds": round(seconds, 1), "of_the_first": round(seconds / whole, 3)}
            row |= {"cpu_seconds": round(time.process_time() - cpu, 2)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
