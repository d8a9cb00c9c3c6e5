"""Passages become vectors, shard by shard, so that a killed build goes on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.files import clear
from rag.index.manifest import read_manifest
from rag.index.parts import WINDOWS
from rag.index.questions import Beside
from rag.index.read import OpenIndex, open_generation
from rag.index.segments import Vectors
from rag.index.unhashed import ARRAY_ERRORS
from rag.progress import progress, say
from rag.retrieve.encoder import Encoder, EncoderFingerprint
from rag.retrieve.spread import encode_blocks
from rag.retrieve.windows import QUESTION_SHARE, mix_windows, window_contents

SHARD_PASSAGES = 4096
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError)
EXACT_FACTORIES = ("Flat", "HNSW16", "HNSW32", "HNSW64")


class KnownVectors:
    """The vectors that the generation which serves holds, if the same encoder made them; only exact ones.

    `some_cut`: among its passages are some that were longer than the encoder takes. A generation that is damaged, or
    none, gives no vector.
    """

    def __init__(self, generation: Path | None, fingerprint: EncoderFingerprint):
        self.some_cut = False
        self._index: Vectors | None = None
        self._rows: dict[str, int] = {}  # content of a passage -> its row
        # Length of windows in sentences -> (title, text) of a passage -> the rows of its windows, in order.
        self._window_rows: dict[int, dict[tuple[str, str], list[int]]] = {}
        self._question_rows: dict[tuple[str, str], int] = {}  # (content of a passage, question) -> its row
        if generation is None:
            return
        with contextlib.suppress(IndexMismatchError):
            manifest = read_manifest(generation)
            if manifest.encoder == fingerprint and manifest.factory in EXACT_FACTORIES:
                self._learn(open_generation(generation, manifest, anew=True))

    def _learn(self, opened: OpenIndex) -> None:
        self._index = opened.vectors()
        self.some_cut = opened.manifest.passages_cut > 0
        self._rows = {passage.content: row for row, passage in enumerate(opened.corpus)}
        theirs = self._window_rows.setdefault(opened.manifest.window_sentences, {})
        owners = opened.windows().tolist()
        questions = [text for own in opened.questions().questions for text in own]
        n_windows = len(owners) - len(questions)
        for row, owner in enumerate(owners[:n_windows], len(opened.corpus)):
            passage = opened.corpus[owner]
            theirs.setdefault((passage.title, passage.text), []).append(row)
        for row, (owner, text) in enumerate(
            zip(owners[n_windows:], questions, strict=True), len(opened.corpus) + n_windows
        ):
            self._question_rows[opened.corpus[owner].content, text] = row

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

    def of_questions(self, corpus: Corpus, owners: Sequence[int], texts: Sequence[str]) -> dict[int, np.ndarray]:
        """The vectors of questions, by their position, where they are known of a passage with this content."""
        pairs = [(corpus[owner].content, text) for owner, text in zip(owners, texts, strict=True)]
        return self._read({n: self._question_rows[pair] for n, pair in enumerate(pairs) if pair in self._question_rows})

    def _read(self, rows: Mapping[int, int]) -> dict[int, np.ndarray]:
        if self._index is None or not rows:
            return {}
        return dict(zip(rows, self._index.vectors(list(rows.values())), strict=True))


def encode_in_shards(
    what: str, texts: Sequence[str], known: Mapping[int, np.ndarray], encoder: Encoder, building: Path
) -> tuple[np.ndarray, int]:
    """((n, d) float32 vectors, how many texts were cut).

    `known` holds the vectors of some texts by their position; the others are encoded, here or on the workers of a
    cluster (`rag.retrieve.spread`). A finished shard is on the disk at once, so that a kill costs those under way at
    most. A shard gathers texts of similar length from all of them, so that hardly anything is spent on padding.
    """
    vectors = np.empty((len(texts), encoder.fingerprint.dimension), np.float32)
    for position, vector in known.items():
        vectors[position] = vector
    left = [position for position in range(len(texts)) if position not in known]
    by_length = np.array(sorted(left, key=lambda position: -len(texts[position])), np.int64)
    shards = [by_length[i : i + SHARD_PASSAGES] for i in range(0, len(by_length), SHARD_PASSAGES)]
    files = [building / f"shard-{what}-{number:05d}.npz" for number in range(len(shards))]
    # What is left to encode may be other texts than in the run that a kill ended.
    hashes = [_hash_of([texts[row] for row in rows.tolist()]) for rows in shards]
    for rows, file, of_texts in zip(shards, files, hashes, strict=True):
        if file.exists() and _read_shard(file, (len(rows), vectors.shape[1]), of_texts) is None:
            say(f"{file} is damaged or of other texts, and these are encoded")
            clear(file)
    done = sum(len(rows) for rows, file in zip(shards, files, strict=True) if file.exists())
    cut = 0
    if not left:
        return vectors, 0
    missing = [number for number, file in enumerate(files) if not file.exists()]
    blocks = ([texts[row] for row in shards[number].tolist()] for number in missing)
    with progress("Encoding", len(left), what, already_done=done) as bar:
        for position, encoded, n_cut in encode_blocks(encoder, blocks, bar.advance):
            _write_shard(files[missing[position]], encoded, n_cut, hashes[missing[position]])
    for rows, file, of_texts in zip(shards, files, hashes, strict=True):
        shard = _read_shard(file, (len(rows), vectors.shape[1]), of_texts)
        if shard is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        vectors[rows] = shard[0]
        cut += shard[1]
    return vectors, cut


def _hash_of(texts: Sequence[str]) -> np.ndarray:
    """(32,) uint8: a hash of texts in their order."""
    digest = hashlib.blake2b(digest_size=32)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return np.frombuffer(digest.digest(), np.uint8)


def _write_shard(file: Path, vectors: np.ndarray, n_cut: int, of_texts: np.ndarray) -> None:
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.savez(stream, vectors=vectors, cut=n_cut, texts=of_texts)
    os.replace(temporary, file)


def _read_shard(file: Path, shape: tuple[int, int], of_texts: np.ndarray) -> tuple[np.ndarray, int] | None:
    """(float32 vectors of that shape, how many texts were cut); None where it is damaged, or of other texts."""
    with contextlib.suppress(*ARRAY_ERRORS, *_ZIP_ERRORS):
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as shard:
            vectors, cut = shard["vectors"], shard["cut"]
            if not np.array_equal(shard["texts"], of_texts):
                return None
        if vectors.shape == shape and vectors.dtype == np.float32 and np.isfinite(vectors).all() and cut.shape == ():
            return vectors, int(cut)
    return None


def with_further_rows(
    corpus: Corpus,
    wholes: np.ndarray,
    n_sentences: int,
    beside: Beside,
    known: KnownVectors,
    encoder: Encoder,
    building: Path,
) -> np.ndarray:
    """(n + m, d) float32: the vectors `wholes` of n passages, and behind them those of windows, then of questions.

    Writes windows.npy, which says whose each of these m is.
    """
    windows, owners = windows_of(corpus, wholes, n_sentences, known, encoder, building)
    questions, owners_of_questions = _questions_of(corpus, wholes, beside, known, encoder, building)
    with (building / WINDOWS).open("wb") as stream:
        np.save(stream, np.concatenate([owners, owners_of_questions]))
    return np.concatenate([wholes, windows, questions])


def _questions_of(
    corpus: Corpus, wholes: np.ndarray, beside: Beside, known: KnownVectors, encoder: Encoder, building: Path
) -> tuple[np.ndarray, np.ndarray]:
    """((m, d) float32 vectors of the questions beside n passages, (m,) int64 the row of each one's passage)."""
    asked = [(row, text) for row, own in enumerate(beside.questions) for text in own]
    owners = np.array([row for row, _ in asked], np.int64)
    texts = [text for _, text in asked]
    mixed = known.of_questions(corpus, owners.tolist(), texts)
    vectors, _ = encode_in_shards("questions", texts, mixed, encoder, building)
    fresh = np.setdiff1d(np.arange(len(texts)), list(mixed))
    vectors[fresh] = mix_windows(vectors[fresh], wholes[owners[fresh]], QUESTION_SHARE)
    return vectors, owners


class KnownWindows(Protocol):
    """Vectors of windows that need not be encoded again."""

    def of_windows(self, corpus: Corpus, owners: Sequence[int], n_sentences: int) -> dict[int, np.ndarray]:
        """The vectors of windows, by their position among `owners`, which holds the row of each one's passage."""
        ...


def windows_of(
    corpus: Corpus, wholes: np.ndarray, n_sentences: int, known: KnownWindows, encoder: Encoder, building: Path
) -> tuple[np.ndarray, np.ndarray]:
    """((m, d) float32 vectors of the windows of n passages, (m,) int64 the row of each one's passage).

    `wholes`, (n, d), are the vectors of the passages.
    """
    windows = [(row, text) for row, passage in enumerate(corpus) for text in window_contents(passage, n_sentences)]
    owners = np.array([row for row, _ in windows], np.int64)
    mixed = known.of_windows(corpus, owners.tolist(), n_sentences)
    vectors, _ = encode_in_shards("windows", [text for _, text in windows], mixed, encoder, building)
    fresh = np.setdiff1d(np.arange(len(windows)), list(mixed))
    vectors[fresh] = mix_windows(vectors[fresh], wholes[owners[fresh]])
    return vectors, owners
