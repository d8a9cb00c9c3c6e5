"""The manifest of an index: what it was made from, and by what."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rag import fixes
from rag.data.corpus import EMBEDDED, corpus_file, load_corpus
from rag.errors import DataError, IndexMismatchError
from rag.files import file_sha256, read_json
from rag.languages import ENGLISH
from rag.retrieve.analyzer import Analyzer
from rag.retrieve.encoder import EncoderFingerprint

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation of an index holds, and what made it.

    `corpus_path` is the corpus file, `embedded`, or empty for an index of documents. `n_passages` counts them all,
    `passages_cut` those that were longer than the encoder takes. `factory` is the kind of FAISS index,
    `window_sentences` the length of the passages' windows, 0 where it has none. `bm25` holds k1, b, language and
    version of the analyzer (`rag.index.language`). `seconds` is what making it took.
    """

    format_version: int
    corpus_path: str
    corpus_file_sha256: str
    corpus_sha256: str
    n_passages: int
    passages_cut: int
    encoder_model: str
    encoder: EncoderFingerprint
    factory: str
    bm25: dict = field(default_factory=dict)
    window_sentences: int = 0
    created: str = ""
    seconds: float = 0.0
    hardware: str = ""

    @property
    def language(self) -> str:
        """The language of the passages, or what BM25 takes for it (`rag.languages`)."""
        return self.bm25.get("language", ENGLISH)

    @property
    def analyzer(self) -> Analyzer:
        """How the words of passages and questions are found. Indexes from before it had versions are of the first."""
        return Analyzer(self.language, self.bm25.get("analyzer", 1))

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the passages, the encoder or the kind of index."""
        # Indexes were made before there were windows: one without them keeps the fingerprint that it had.
        windows = [self.window_sentences] if self.window_sentences else []
        return _digest(self.corpus_sha256, asdict(self.encoder), self.factory, self.bm25, *windows)[:12]


def read_manifest(generation: Path) -> Manifest:
    """The manifest of a generation folder.

    Raises IndexMismatchError where it is missing, damaged, edited, or of another format.
    """
    index_folder = generation.parent
    try:
        stored = read_json(generation / MANIFEST, DataError)
    except DataError as error:
        raise IndexMismatchError(str(error), fixes.make_index(index_folder)) from error
    version = stored.get("format_version")
    if version != FORMAT_VERSION:
        raise IndexMismatchError(
            f"{generation} has index format {version}, this version reads {FORMAT_VERSION}",
            fixes.remake(index_folder, stored.get("corpus_path", "CORPUS")),
        )
    try:
        fingerprint = stored.pop("fingerprint")
        manifest = Manifest(**{**stored, "encoder": EncoderFingerprint(**stored["encoder"])})
        if manifest.fingerprint != fingerprint:
            raise ValueError(f"its fingerprint should be {manifest.fingerprint}, not {fingerprint}")
    except (ValueError, TypeError, KeyError) as error:
        what = f"{generation / MANIFEST} is damaged ({error})"
        raise IndexMismatchError(what, fixes.make_index(index_folder)) from error
    return manifest


def read_if_sound(generation: Path | None) -> Manifest | None:
    """The manifest of a generation, or None where there is none that can be read."""
    with contextlib.suppress(IndexMismatchError):
        return read_manifest(generation) if generation else None
    return None


def manifest_json(manifest: Manifest) -> dict:
    """A manifest as its file holds it."""
    return {**asdict(manifest), "fingerprint": manifest.fingerprint}


def check_source(manifest: Manifest, index_folder: Path) -> None:
    """Refuse an index whose corpus file is still there but no longer the same (IndexMismatchError)."""
    if not source_is_there(manifest):
        return  # an index may travel without the file that it was made from
    if source_sha256(manifest.corpus_path) == manifest.corpus_file_sha256:
        return
    now = len(load_corpus(manifest.corpus_path))
    raise IndexMismatchError(
        f"{index_folder} was built for {manifest.n_passages:,} passages, but {manifest.corpus_path} has changed since "
        f"(now {now:,})",
        fixes.index_corpus(manifest.corpus_path, index_folder),
    )


def source_is_there(manifest: Manifest) -> bool:
    """Whether the corpus that an index was made from can be read; never so for an index of documents."""
    return manifest.corpus_path == EMBEDDED or Path(manifest.corpus_path).is_file()


def source_sha256(corpus_path: str) -> str:
    """A hash of a corpus file, or of the embedded corpus."""
    if corpus_path == EMBEDDED:
        return load_corpus(EMBEDDED).sha256()
    return file_sha256(corpus_file(corpus_path))


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
