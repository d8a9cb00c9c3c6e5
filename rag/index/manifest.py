"""The manifest of an index: what it was made from, and by what."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from rag import fixes
from rag.data.corpus import EMBEDDED, corpus_files, load_corpus
from rag.data.source import source_of
from rag.errors import DataError, IndexMismatchError
from rag.files import SEAL, file_sha256, is_unbroken, read_json
from rag.index.checked import sha256_checked
from rag.languages import ENGLISH
from rag.retrieve.analyzer import Analyzer
from rag.retrieve.encoder import EncoderFingerprint
from rag.store.note import has_note

FORMAT_VERSION = 1
SEGMENTED_VERSION = 2
"""The format of a generation in segments (`rag.index.segments`), which earlier versions cannot read."""
QUESTIONED_VERSION = 3
"""The format of a generation with questions (`rag.index.questions`), which earlier versions cannot read."""
VERSIONS = (FORMAT_VERSION, SEGMENTED_VERSION, QUESTIONED_VERSION)
MANIFEST = "manifest.json"
PARTS, REPLACED = "parts", "replaced"
"""What its file holds beside the manifest itself: what `rag.index.parts` knows of the other files."""


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "str": (str,), "float": (int, float), "dict": (dict,)}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation of an index holds, and what made it.

    `corpus_path` names the corpus (`rag.data.source`), such as its file or `embedded`; it is empty for an index of
    documents. `n_passages` counts them all, `passages_cut` those that were longer than the encoder takes. `factory` is
    the kind of FAISS index, `window_sentences` the length of the passages' windows, 0 where it has none. `bm25` holds
    k1, b, language and version of the analyzer (`rag.index.language`). `seconds` is what making it took. `questions` is
    how many were written about each passage at most, `questions_sha256` a hash of them.
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
    questions: int = 0
    questions_sha256: str = ""

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
        questions = [[self.questions, self.questions_sha256]] if self.questions else []
        return _digest(self.corpus_sha256, asdict(self.encoder), self.factory, self.bm25, *windows, *questions)[:12]


def read_manifest(generation: Path) -> Manifest:
    """The manifest of a generation folder.

    Raises IndexMismatchError where it is missing, damaged, edited, or of another format.
    """
    if has_note(generation.parent):
        from rag.index.stored import stored_manifest

        return stored_manifest(generation)
    index_folder = generation.parent
    try:
        stored = read_json(generation / MANIFEST, DataError)
    except DataError as error:
        raise IndexMismatchError(str(error), fixes.make_index(index_folder)) from error
    version = stored.get("format_version")
    if version not in VERSIONS and is_unbroken(stored):
        raise IndexMismatchError(
            f"{generation} has index format {version}, this version reads {FORMAT_VERSION} to {QUESTIONED_VERSION}",
            fixes.remake(index_folder, str(stored.get("corpus_path", "CORPUS"))),
        )
    try:
        return manifest_of_json(stored)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        what = f"{generation / MANIFEST} is damaged ({error})"
        raise IndexMismatchError(what, fixes.make_index(index_folder)) from error


def manifest_of_json(stored: Mapping) -> Manifest:
    """The manifest that its file, or a store, holds. Raises ValueError, TypeError or KeyError where it is damaged."""
    own = {key: value for key, value in stored.items() if key not in (PARTS, REPLACED, SEAL)}
    fingerprint = own.pop("fingerprint")
    encoder = EncoderFingerprint(**own["encoder"])
    manifest = Manifest(**{**own, "encoder": encoder})
    for record in (manifest, encoder):
        for part in fields(record):
            if not isinstance(value := getattr(record, part.name), _TYPES.get(str(part.type), object)):
                raise TypeError(f"{part.name} is {value!r:.40}")
    if not isinstance(manifest.language, str) or type(manifest.analyzer.version) is not int:
        raise TypeError(f"bm25 is {manifest.bm25!r:.80}")
    if manifest.fingerprint != fingerprint:
        raise ValueError(f"its fingerprint should be {manifest.fingerprint}, not {fingerprint}")
    if not is_unbroken(stored):
        raise ValueError("its bytes are not those that were written")
    return manifest


def read_if_sound(generation: Path | None) -> Manifest | None:
    """The manifest of a generation, or None where there is none that can be read."""
    with contextlib.suppress(IndexMismatchError):
        return read_manifest(generation) if generation else None
    return None


def manifest_json(manifest: Manifest) -> dict:
    """A manifest as its file holds it, without what `rag.index.parts` adds."""
    stored = {**asdict(manifest), "fingerprint": manifest.fingerprint}
    if not manifest.questions:  # earlier versions know of none, and read an index without them
        del stored["questions"], stored["questions_sha256"]
    return stored


def check_source(manifest: Manifest, index_folder: Path, keeps: Path | None = None) -> None:
    """Refuse an index whose corpus file is still there but no longer the same (IndexMismatchError).

    `keeps` is the generation that remembers the hash of a file that has not changed since; None takes it anew.
    """
    if not source_is_there(manifest):
        return  # an index may travel without the file that it was made from
    if source_sha256(manifest.corpus_path, keeps) == manifest.corpus_file_sha256:
        return
    now = len(load_corpus(manifest.corpus_path))
    raise IndexMismatchError(
        f"{index_folder} was built for {manifest.n_passages:,} passages, but {manifest.corpus_path} has changed since "
        f"(now {now:,})",
        fixes.index_corpus(manifest.corpus_path, index_folder),
    )


def source_is_there(manifest: Manifest) -> bool:
    """Whether the corpus that an index was made from is on this disk; never so for documents and what is of the hub."""
    if manifest.corpus_path in ("", EMBEDDED):
        return manifest.corpus_path == EMBEDDED
    source = source_of(manifest.corpus_path)
    return source.kind not in ("hub", "folder") and source.path.exists()


def source_sha256(corpus_path: str, keeps: Path | None = None) -> str:
    """A hash of the files of a corpus, or of the embedded corpus; `keeps` as for `check_source`."""
    if corpus_path == EMBEDDED:
        return load_corpus(EMBEDDED).sha256()
    files = corpus_files(corpus_path)
    hashes = [
        file_sha256(file) if keeps is None else sha256_checked(keeps, file.absolute(), file_sha256) for file in files
    ]
    return hashes[0] if len(hashes) == 1 else _digest([file.name for file in files], hashes)


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
