"""An index opened for reading: one function for each part of a generation, for answering and for the doctor.

Each raises IndexMismatchError with the command that makes the part again. What is made from sound passages can be made
from them again; only damaged passages need the files that they came from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag import fixes
from rag.data.corpus import load_corpus
from rag.data.passages import Corpus
from rag.data.rows import json_rows
from rag.errors import DataError, IndexMismatchError
from rag.files import json_if_sound
from rag.index.folder import CURRENT, PREVIOUS, read_pointer, serving_manifest
from rag.index.manifest import Manifest, source_is_there
from rag.progress import say
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.encoder import EncoderFingerprint
from rag.retrieve.vectors import FaissIndex

PASSAGES = "passages.jsonl"
VECTORS = "vectors.faiss"
WINDOWS = "windows.npy"
BM25 = "bm25"
DOCUMENTS = "documents.jsonl"
SOURCES = "sources.json"


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """A generation opened for reading: its folder, its manifest and its passages. The other parts load when asked."""

    folder: Path
    manifest: Manifest
    corpus: Corpus

    def check_encoder(self, fingerprint: EncoderFingerprint) -> None:
        """Raises IndexMismatchError where another encoder made this index."""
        stored = asdict(self.manifest.encoder)
        now = asdict(fingerprint)
        differing = [name for name in now if stored[name] != now[name]]
        if not differing:
            return
        details = "; ".join(f"{name}: {stored[name]!r:.40} in the index, {now[name]!r:.40} now" for name in differing)
        raise IndexMismatchError(
            f"{self.folder.parent} was built with another encoder ({details})",
            _encode_again(self.folder, self.manifest),
            to=f"choose the one that made it with --set encoder.model={self.manifest.encoder_model}, or rebuild it",
        )

    def check_holds_passages(self) -> None:
        """Raises DataError, with the command that adds documents, for an index that holds none."""
        if not self.corpus:
            folder = self.folder.parent
            raise DataError(f"{folder} holds no documents; add some: {fixes.ingest(folder, ['PATH'])}")

    def vectors(self, *, nprobe: int = 32, ef_search: int = 128) -> FaissIndex:
        """One row for each passage, then one for each window."""
        n_windows = len(self.windows())
        try:
            index = FaissIndex.load(self.folder / VECTORS, nprobe=nprobe, ef_search=ef_search)
        except IndexMismatchError as error:
            raise IndexMismatchError(error.what, _encode_again(self.folder, self.manifest)) from error
        if len(index) != len(self.corpus) + n_windows:
            raise IndexMismatchError(
                f"{self.folder} holds {len(index):,} vectors for {len(self.corpus):,} passages and {n_windows:,} "
                "windows",
                _encode_again(self.folder, self.manifest),
            )
        return index

    def windows(self) -> np.ndarray:
        """(m,) int: the passage's row of each window; empty for an index without windows."""
        if not self.manifest.window_sentences:
            return np.zeros(0, np.int64)
        path = self.folder / WINDOWS
        try:
            return np.load(path)
        except (OSError, ValueError, EOFError) as error:
            what = f"{path} is missing or damaged"
            raise IndexMismatchError(what, _encode_again(self.folder, self.manifest)) from error

    def bm25(self) -> BM25Retriever:
        """The BM25 index over the passages. Raises DataError where there are none."""
        self.check_holds_passages()
        try:
            return BM25Retriever.load(self.folder / BM25, self.corpus, analyzer=self.manifest.analyzer)
        except IndexMismatchError as error:
            raise IndexMismatchError(error.what, _encode_again(self.folder, self.manifest)) from error


def open_index(folder: str | Path) -> OpenIndex:
    """Open the generation that serves; raises as `serving_manifest` does, and for passages that are not its own."""
    return open_generation(*serving_manifest(folder))


def open_generation(generation: Path, manifest: Manifest) -> OpenIndex:
    """Open a generation with its passages. Raises IndexMismatchError where these are damaged or not its own."""
    fix = fixes.remake(generation.parent, manifest.corpus_path)
    try:
        # An index whose last document was taken out holds no passage, as no corpus file does.
        is_empty = manifest.n_passages == 0 and not (generation / PASSAGES).stat().st_size
        corpus = Corpus([]) if is_empty else load_corpus(generation / PASSAGES)
    except (DataError, OSError) as error:
        raise IndexMismatchError(f"the passages of {generation} cannot be read ({error})", fix) from error
    if len(corpus) != manifest.n_passages or corpus.sha256() != manifest.corpus_sha256:
        raise IndexMismatchError(
            f"{generation} holds {len(corpus):,} passages that are not the {manifest.n_passages:,} of its manifest", fix
        )
    return OpenIndex(generation, manifest, corpus)


def _encode_again(generation: Path, manifest: Manifest) -> str:
    """The command that makes again what is made from sound passages.

    Named by its corpus file, a killed build goes on where it was; but an index may travel without the file.
    """
    if source_is_there(manifest):
        return fixes.index_corpus(manifest.corpus_path, generation.parent)
    return fixes.encode_again(generation.parent)


def damage_of(generation: Path, manifest: Manifest) -> str:
    """What is missing or not as the manifest says, of a generation's parts; "" where it is whole."""
    try:
        opened = open_generation(generation, manifest)
        opened.vectors()
        if opened.corpus:
            opened.bm25()
        read_documents(generation)
    except IndexMismatchError as error:
        return error.what
    return ""


def read_documents(generation: Path) -> list[dict]:
    """The rows of documents.jsonl; [] for an index that was made from a corpus file.

    Raises IndexMismatchError where a line is damaged.
    """
    path = generation / DOCUMENTS
    try:
        return [row for _, row in json_rows(path)] if path.is_file() else []
    except (DataError, OSError) as error:
        raise IndexMismatchError(f"{path} is damaged", fixes.ingest(generation.parent)) from error


def read_sources(generation: Path) -> dict[str, Any]:
    """What an index of documents follows: {"roots": […], "forgotten": […]}, both paths of files and folders.

    Addresses of web pages are among them; {"depths": {…}} says how many links away from one pages are taken. Where that
    is lost, the roots are those of the documents. Raises IndexMismatchError where these are damaged too.
    """
    path = generation / SOURCES
    stored = json_if_sound(path) or {}
    if isinstance(stored.get("roots"), list) and isinstance(stored.get("forgotten"), list):
        followed = {"roots": stored["roots"], "forgotten": stored["forgotten"]}
        depths = stored.get("depths")
        return {**followed, "depths": depths} if isinstance(depths, dict) and depths else followed
    try:
        documents = read_documents(generation)
    except IndexMismatchError as error:
        raise IndexMismatchError(
            f"the files that {generation.parent} was made from are no longer known",
            fixes.start_again(generation.parent),
            to="delete it and name the files again",
        ) from error
    if documents:
        say(f"{path} is missing or damaged: the roots are taken from the documents, what was forgotten is not known")
    places = [place for row in documents for place in row["paths"]]
    return {"roots": list(dict.fromkeys(p.get("address") or p["root"] for p in places)), "forgotten": []}


def kept_documents(folder: str | Path) -> Iterator[dict]:
    """The documents of the generation that serves, then of the one before it, as far as they can be read."""
    for pointer in (CURRENT, PREVIOUS):
        generation = read_pointer(Path(folder), pointer)
        if generation is not None:
            with contextlib.suppress(IndexMismatchError):
                yield from read_documents(generation)
