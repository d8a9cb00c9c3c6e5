"""What made an index: its manifest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rag.data.corpus import EMBEDDED, corpus_file, load_corpus
from rag.errors import IndexMismatchError
from rag.files import file_sha256
from rag.retrieve.encoder import EncoderFingerprint

FORMAT_VERSION = 1

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What made an index."""

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
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the passages, the encoder or the kind of index."""
        windows = [self.window_sentences] if self.window_sentences else []  # without, an index is what it always was
        return _digest(self.corpus_sha256, asdict(self.encoder), self.factory, self.bm25, *windows)[:12]


def read_manifest(generation: Path) -> Manifest:
    """The manifest of a generation folder."""
    try:
        raw = json.loads((generation / MANIFEST).read_text(encoding="utf-8"))
        if raw.get("format_version") != FORMAT_VERSION:
            raise IndexMismatchError(
                f"{generation} has index format {raw.get('format_version')}, this version reads {FORMAT_VERSION}; "
                f"{how_to_rebuild(raw.get('corpus_path', 'CORPUS'), generation.parent)}"
            )
        stored = raw.pop("fingerprint")
        manifest = Manifest(**{**raw, "encoder": EncoderFingerprint(**raw["encoder"])})
        if manifest.fingerprint != stored:
            raise ValueError(f"its fingerprint should be {manifest.fingerprint}, not {stored}")
        return manifest
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IndexMismatchError(
            f"the manifest of {generation} is missing or damaged ({error}); build the index again: "
            f"rag index CORPUS -o {generation.parent}"
        ) from error


def read_if_sound(generation: Path | None) -> Manifest | None:
    with contextlib.suppress(IndexMismatchError):
        return read_manifest(generation) if generation else None
    return None


def check_source(manifest: Manifest, folder: Path) -> None:
    """Refuse an index whose corpus file is still there but no longer the same."""
    if not source_is_there(manifest):
        return  # an index may travel without the file that it was made from
    if source_sha256(manifest.corpus_path) == manifest.corpus_file_sha256:
        return
    now = len(load_corpus(manifest.corpus_path))
    raise IndexMismatchError(
        f"{folder} was built for {manifest.n_passages:,} passages, but {manifest.corpus_path} has changed since "
        f"(now {now:,}); {how_to_rebuild(manifest.corpus_path, folder)}"
    )


def source_is_there(manifest: Manifest) -> bool:
    return manifest.corpus_path == EMBEDDED or Path(manifest.corpus_path).is_file()


def how_to_make(folder: Path) -> str:
    own = shlex.quote(str(folder))
    return f"rag index CORPUS -o {own}, or of documents: rag ingest PATH -i {own}"


def how_to_rebuild(corpus_path: str, folder: Path, *, passages_sound: bool = False) -> str:
    """How to mend an index; one of files is encoded again where its passages are sound, else taken in again."""
    own = shlex.quote(str(folder))
    if corpus_path:
        return f"rebuild it: rag index {shlex.quote(corpus_path)} -o {own}"
    return (
        f"rebuild it: rag index --rebuild -o {own}"
        if passages_sound
        else f"take the files in again: rag ingest -i {own}"
    )


def source_sha256(corpus_path: str) -> str:
    if corpus_path == EMBEDDED:
        return load_corpus(EMBEDDED).sha256()
    return file_sha256(corpus_file(corpus_path))


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def manifest_json(manifest: Manifest) -> dict:
    return {**asdict(manifest), "fingerprint": manifest.fingerprint}
