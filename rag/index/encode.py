"""Passages become vectors, shard by shard, so that a killed build goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.index.manifest import read_manifest
from rag.index.read import WINDOWS, OpenIndex, open_generation
from rag.progress import progress
from rag.retrieve.encoder import Encoder, EncoderFingerprint
from rag.retrieve.vectors import FaissIndex
from rag.retrieve.windows import mix_windows, window_contents

SHARD_PASSAGES = 4096
EXACT_FACTORIES = ("Flat", "HNSW16", "HNSW32", "HNSW64")


class KnownVectors:
    """The vectors that the generation which serves holds, if the same encoder made them; only exact ones.

    `some_cut`: among its passages are some that were longer than the encoder takes. A generation that is damaged, or
    none, gives no vector.
    """

    def __init__(self, generation: Path | None, fingerprint: EncoderFingerprint):
        self.some_cut = False
        self._index: FaissIndex | None = None
        self._rows: dict[str, int] = {}  # content of a passage -> its row
        # Length of windows in sentences -> (title, text) of a passage -> the rows of its windows, in order.
        self._window_rows: dict[int, dict[tuple[str, str], list[int]]] = {}
        if generation is None:
            return
        with contextlib.suppress(IndexMismatchError):
            manifest = read_manifest(generation)
            if manifest.encoder == fingerprint and manifest.factory in EXACT_FACTORIES:
                self._learn(open_generation(generation, manifest))

    def _learn(self, opened: OpenIndex) -> None:
        self._index = opened.vectors()
        self.some_cut = opened.manifest.passages_cut > 0
        self._rows = {passage.content: row for row, passage in enumerate(opened.corpus)}
        theirs = self._window_rows.setdefault(opened.manifest.window_sentences, {})
        for row, owner in enumerate(opened.windows().tolist(), len(opened.corpus)):
            passage = opened.corpus[owner]
            theirs.setdefault((passage.title, passage.text), []).append(row)

    def of_passages(self, contents: Sequence[str]) -> dict[int, np.ndarray]:
        """The vectors of the contents that a known passage has, by their position among `contents`."""
        return self._read({n: self._rows[text] for n, text in enumerate(contents) if text in self._rows})

    def of_windows(self, corpus: Corpus, owners: Sequence[int], n_sentences: int) -> dict[int, np.ndarray]:
        """The vectors of windows, by their position, where their passage is known with windows of this length.

        `owners` holds the row in `corpus` of each window's passage.
        """
        theirs = self._window_rows.get(n_sentences, {})
        rows: dict[int, int] = {}
        for owner, positions in itertools.groupby(range(len(owners)), key=owners.__getitem__):
            # Not by content: windows are cut from the text alone, so a title that moved into it changes them.
            passage = corpus[owner]
            rows |= zip(positions, theirs.get((passage.title, passage.text), ()), strict=False)
        return self._read(rows)

    def _read(self, rows: Mapping[int, int]) -> dict[int, np.ndarray]:
        if self._index is None or not rows:
            return {}
        return dict(zip(rows, self._index.vectors(list(rows.values())), strict=True))


def encode_in_shards(
    what: str, texts: Sequence[str], known: Mapping[int, np.ndarray], encoder: Encoder, building: Path
) -> tuple[np.ndarray, int]:
    """((n, d) float32 vectors, how many texts were cut).

    `known` holds the vectors of some texts by their position; the others are encoded. Each finished shard is on disk
    before the next begins, so that a kill costs one shard at most. A shard gathers texts of similar length from all of
    them, so that hardly anything is spent on padding.
    """
    vectors = np.empty((len(texts), encoder.fingerprint.dimension), np.float32)
    for position, vector in known.items():
        vectors[position] = vector
    # The same texts make the same shards in every run: a shard is known by its number alone.
    left = [position for position in range(len(texts)) if position not in known]
    by_length = np.array(sorted(left, key=lambda position: -len(texts[position])), np.int64)
    shards = [by_length[i : i + SHARD_PASSAGES] for i in range(0, len(by_length), SHARD_PASSAGES)]
    files = [building / f"shard-{what}-{number:05d}.npz" for number in range(len(shards))]
    done = sum(len(rows) for rows, file in zip(shards, files, strict=True) if file.exists())
    cut = 0
    if not left:
        return vectors, 0
    with progress("Encoding", len(left), what, already_done=done) as bar:
        for rows, file in zip(shards, files, strict=True):
            if not file.exists():
                encoded, n_cut = encoder.encode_passages([texts[row] for row in rows.tolist()], advance=bar.advance)
                temporary = file.with_suffix(".tmp")
                with temporary.open("wb") as stream:
                    np.savez(stream, vectors=encoded, cut=n_cut)
                os.replace(temporary, file)
            with np.load(file) as shard:
                vectors[rows] = shard["vectors"]
                cut += int(shard["cut"])
    return vectors, cut


def with_windows(
    corpus: Corpus, wholes: np.ndarray, n_sentences: int, known: KnownVectors, encoder: Encoder, building: Path
) -> np.ndarray:
    """(n + m, d) float32: the vectors `wholes` of n passages, and behind them those of their m windows.

    Writes windows.npy, which says whose each window is.
    """
    windows = [(row, text) for row, passage in enumerate(corpus) for text in window_contents(passage, n_sentences)]
    owners = np.array([row for row, _ in windows], np.int64)
    mixed = known.of_windows(corpus, owners.tolist(), n_sentences)
    vectors, _ = encode_in_shards("windows", [text for _, text in windows], mixed, encoder, building)
    fresh = np.setdiff1d(np.arange(len(windows)), list(mixed))
    vectors[fresh] = mix_windows(vectors[fresh], wholes[owners[fresh]])
    with (building / WINDOWS).open("wb") as stream:
        np.save(stream, owners)
    return np.concatenate([wholes, vectors])
