"""An index opened for reading."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rag.data.corpus import load_corpus
from rag.data.passages import Corpus
from rag.data.rows import json_rows
from rag.errors import DataError, IndexMismatchError
from rag.files import json_line, write_json, write_whole
from rag.index.folder import CURRENT, PREVIOUS, read_pointer, serving_manifest
from rag.index.manifest import Manifest, how_to_rebuild
from rag.progress import say
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.encoder import EncoderFingerprint
from rag.retrieve.vectors import FaissIndex

DOCUMENTS = "documents.jsonl"

SOURCES = "sources.json"
WINDOWS = "windows.npy"


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """A generation opened for reading."""

    folder: Path
    manifest: Manifest
    corpus: Corpus

    def check_encoder(self, fingerprint: EncoderFingerprint) -> None:
        """Raises IndexMismatchError where another encoder made this index."""
        stored, now = asdict(self.manifest.encoder), asdict(fingerprint)
        if differing := [name for name in now if stored[name] != now[name]]:
            details = "; ".join(
                f"{name}: {stored[name]!r:.40} in the index, {now[name]!r:.40} now" for name in differing
            )
            raise IndexMismatchError(
                f"{self.folder.parent} was built with another encoder ({details}); "
                f"{how_to_rebuild(self.manifest.corpus_path, self.folder.parent, passages_sound=True)}, "
                f"or choose the encoder that made it ({self.manifest.encoder_model}) with --set encoder.model=…"
            )

    def vectors(self, *, nprobe: int = 32, ef_search: int = 128) -> FaissIndex:
        """One row for each passage, then one for each window."""
        index = FaissIndex.load(self.folder / "vectors.faiss", nprobe=nprobe, ef_search=ef_search)
        if len(index) != (wanted := len(self.corpus) + len(self.windows())):
            raise IndexMismatchError(
                f"{self.folder} holds {len(index):,} vectors where {wanted:,} belong; "
                f"{how_to_rebuild(self.manifest.corpus_path, self.folder.parent, passages_sound=True)}"
            )
        return index

    def windows(self) -> np.ndarray:
        """(m,) int: the passage's row of each window."""
        return read_windows(self.folder, self.manifest)

    def bm25(self) -> BM25Retriever:
        return BM25Retriever.load(self.folder / "bm25", self.corpus)


def read_documents(generation: Path) -> list[dict]:
    """The rows of documents.jsonl; [] for an index that was made from a file of passages.

    Raises IndexMismatchError where a line is damaged.
    """
    path = generation / DOCUMENTS
    try:
        return [row for _, row in json_rows(path)] if path.is_file() else []
    except DataError as error:
        raise IndexMismatchError(f"{path} is damaged; {how_to_rebuild('', generation.parent)}") from error


def read_sources(generation: Path) -> dict:
    """What an index of files was taken in from: {"roots": […], "forgotten": […]}.

    Where that is lost, the roots are those of the documents. Raises IndexMismatchError where these are damaged too.
    """
    path, folder = generation / SOURCES, shlex.quote(str(generation.parent))
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: list(stored[name]) for name in ("roots", "forgotten")}
    except (OSError, ValueError, TypeError, KeyError):
        try:
            documents = read_documents(generation)
        except IndexMismatchError as error:
            raise IndexMismatchError(
                f"{generation.parent} no longer tells what it was taken in from; delete it and name the files again: "
                f"rm -r {folder} && rag ingest PATH -i {folder}"
            ) from error
    if documents:
        say(f"{path} is missing or damaged: what was taken in is known from the documents, what was forgotten is not")
    return {"roots": list(dict.fromkeys(p["root"] for row in documents for p in row["paths"])), "forgotten": []}


def write_documents(generation: Path, documents: Sequence[Mapping], sources: Mapping | None) -> None:
    write_json(generation / SOURCES, dict(sources or {"roots": [], "forgotten": []}))
    write_whole(generation / DOCUMENTS, b"".join(json_line(row) for row in documents))


def kept_documents(folder: str | Path) -> Iterator[dict]:
    """The documents of the generation that serves, then of the one before it, as far as they can be read."""
    for generation in (read_pointer(Path(folder), pointer) for pointer in (CURRENT, PREVIOUS)):
        with contextlib.suppress(IndexMismatchError):
            yield from read_documents(generation) if generation else ()


def open_index(folder: str | Path) -> OpenIndex:
    """Open the generation that serves; raises as `serving_manifest` does, and for passages that are not its own."""
    return open_generation(*serving_manifest(folder))


def open_generation(generation: Path, manifest: Manifest) -> OpenIndex:
    corpus = load_corpus(generation / "passages.jsonl")
    if len(corpus) != manifest.n_passages or corpus.sha256() != manifest.corpus_sha256:
        raise IndexMismatchError(
            f"{generation} holds {len(corpus):,} passages that are not the {manifest.n_passages:,} of its manifest; "
            f"{how_to_rebuild(manifest.corpus_path, generation.parent)}"
        )
    return OpenIndex(generation, manifest, corpus)


def damage_of(generation: Path, manifest: Manifest) -> str:
    """What is missing or not as the manifest says, of a generation's parts; "" where it is whole."""
    try:
        opened = open_generation(generation, manifest)
        opened.vectors()
        opened.bm25()
        read_documents(generation)
    except (IndexMismatchError, DataError, OSError) as error:
        return str(error).split(";")[0]
    return ""


def read_windows(generation: Path, manifest: Manifest) -> np.ndarray:
    """(m,) int: the passage's row of each window of an index; none where it was made without."""
    if not manifest.window_sentences:
        return np.zeros(0, np.int64)
    try:
        return np.load(generation / WINDOWS)
    except (OSError, ValueError, EOFError) as error:
        raise IndexMismatchError(
            f"{generation / WINDOWS} is missing or damaged; "
            f"{how_to_rebuild(manifest.corpus_path, generation.parent, passages_sound=True)}"
        ) from error
