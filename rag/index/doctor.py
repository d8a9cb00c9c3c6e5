"""Is an index whole, and does it still fit what it was made from? Every finding says how to mend it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rag.data.corpus import load_corpus
from rag.data.passages import Corpus
from rag.documents.parsed import ParsedDocuments
from rag.documents.records import HASH_CHARACTERS
from rag.errors import ConfigError, RagError
from rag.files import file_sha256
from rag.index.calibration import read_calibration
from rag.index.folder import BUILDING, CURRENT, PREVIOUS
from rag.index.manifest import Manifest, check_source, read_manifest
from rag.index.read import read_documents, read_sources, read_windows
from rag.lazy import Lazy
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.encoder import Encoder
from rag.retrieve.vectors import FaissIndex

SAMPLED_VECTORS = 16
LEAST_COSINE = 0.99


@dataclass(frozen=True, slots=True)
class Finding:
    """`broken` means wrong or no answers, `stale` answers from another state than the files', `waste` disk space."""

    severity: Literal["broken", "stale", "waste"]
    what: str
    mend: str


def examine(index_folder: str | Path, encoder: Lazy[Encoder]) -> list[Finding]:
    """Everything that is wrong with an index, the worst first; [] for a sound one.

    Looks at the generation that serves, its passages, vectors and BM25 against one another and against the encoder that
    serves, `encoder` (16 passages are embedded again), and at the files that the documents were taken in from.
    """
    folder = Path(index_folder)
    findings = list(_examine(folder, encoder))
    return sorted(findings, key=lambda finding: ("broken", "stale", "waste").index(finding.severity))


def finding_lines(findings: Sequence[Finding], folder: Path) -> list[str]:
    """The findings for a terminal."""
    if not findings:
        return [f"{folder} is sound"]
    return [f"{finding.severity}: {finding.what}\n    mend it: {finding.mend}" for finding in findings]


def _examine(folder: Path, encoder: Lazy[Encoder]) -> Iterator[Finding]:
    generation, own = folder / _pointer(folder, CURRENT), shlex.quote(str(folder))
    again = f"rag index CORPUS -o {own}, or of documents: rag ingest PATH -i {own}"
    if (previous := _pointer(folder, PREVIOUS)) and (folder / previous).is_dir():
        again = f"rag rollback {own}, or build it again: {again}"
    if not _pointer(folder, CURRENT) or not generation.is_dir():
        yield Finding("broken", f"{folder} serves no generation", again)
        return
    try:
        manifest = read_manifest(generation)
    except RagError as error:
        yield Finding("broken", str(error), again)
        return
    mend = f"rag index {shlex.quote(manifest.corpus_path)} -o {own}" if manifest.corpus_path else f"rag ingest -i {own}"
    try:
        corpus = load_corpus(generation / "passages.jsonl")
    except (RagError, OSError) as error:
        yield Finding("broken", f"its passages cannot be read ({error})", mend)
        return
    rebuild = f"rag index --rebuild -o {own}"
    if len(corpus) != manifest.n_passages or corpus.sha256() != manifest.corpus_sha256:
        yield Finding("broken", f"its {len(corpus):,} passages are not those of its manifest", mend)
        rebuild = mend
    yield from _vectors(encoder, generation, manifest, corpus, rebuild)
    yield from _bm25(generation, corpus, rebuild)
    try:
        check_source(manifest, folder)
    except RagError as error:
        yield Finding("stale", str(error), mend)
    yield from _documents(folder, generation, manifest, corpus)
    try:
        calibration = read_calibration(folder)
        if calibration is not None and calibration.get("index") != manifest.fingerprint:
            what = "its calibration was made before it changed, and is not applied"
            yield Finding("stale", what, f"rag calibrate DEV -i {shlex.quote(str(folder))}")
    except RagError as error:
        yield Finding("stale", str(error), f"rag calibrate DEV -i {shlex.quote(str(folder))}")
    yield from _leftovers(folder, generation, mend)


def _pointer(folder: Path, name: str) -> str:
    path = folder / name
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _vectors(
    serving: Lazy[Encoder], generation: Path, manifest: Manifest, corpus: Corpus, rebuild: str
) -> Iterator[Finding]:
    try:
        index = FaissIndex.load(generation / "vectors.faiss")
        windows = read_windows(generation, manifest)
    except RagError as error:
        yield Finding("broken", str(error), rebuild)
        return
    if len(index) != len(corpus) + len(windows):
        what = f"{len(corpus):,} passages" + (f" and {len(windows):,} windows" if len(windows) else "")
        yield Finding("broken", f"it holds {len(index):,} vectors for {what}", rebuild)
        return
    encoder = serving.get()
    if encoder.fingerprint != manifest.encoder:
        what = f"its vectors are of another encoder ({manifest.encoder_model}) than the one that serves"
        yield Finding("broken", what, f"rag index --rebuild -o {shlex.quote(str(generation.parent))}")
        return
    yield from _sampled(encoder, index, corpus, manifest, rebuild)


def _sampled(
    encoder: Encoder, index: FaissIndex, corpus: Corpus, manifest: Manifest, rebuild: str
) -> Iterator[Finding]:
    if "PQ" in manifest.factory or "SQ" in manifest.factory:
        return  # compressed vectors differ by design
    size = min(SAMPLED_VECTORS, len(corpus))
    rows = np.sort(np.random.default_rng(0).choice(len(corpus), size, replace=False))
    try:
        stored = index.vectors(rows)
    except ConfigError:
        return  # this kind of index gives no vectors back
    fresh, _ = encoder.encode_passages([corpus[row].content for row in rows.tolist()])
    cosines = np.einsum("nd,nd->n", stored, fresh)
    if (bad := int((cosines < LEAST_COSINE).sum())) > 0:
        yield Finding("broken", f"{bad} of {size} vectors looked at are not those of their passages", rebuild)


def _bm25(generation: Path, corpus: Corpus, rebuild: str) -> Iterator[Finding]:
    try:
        retriever = BM25Retriever.load(generation / "bm25", corpus)
        sample = next((passage for passage in corpus if len(passage.text.split()) > 3), None)
        if sample is not None:
            retriever.retrieve([sample.text[:500]], 1)
    except (RagError, OSError, ValueError, IndexError, KeyError) as error:
        yield Finding("broken", f"its BM25 index cannot be used ({error})", rebuild)


def _documents(folder: Path, generation: Path, manifest: Manifest, corpus: Corpus) -> Iterator[Finding]:
    """Whether passages and documents agree, and whether the files are still those that were taken in."""
    own = shlex.quote(str(folder))
    try:
        sources = read_sources(generation)
    except RagError as error:
        yield Finding("broken", str(error), f"rm -r {own} && rag ingest PATH -i {own}")
        return
    try:
        documents = read_documents(generation)
    except RagError as error:
        yield Finding("broken", str(error), f"rag ingest -i {own}")
        return
    if not documents:
        return
    again = f"rag ingest {shlex.join(sources['roots']) or 'PATHS'} -i {shlex.quote(str(folder))}"
    again += "".join(f" --forget {shlex.quote(path)}" for path in sources["forgotten"])
    again += f" --set index.factory={manifest.factory}" * (manifest.factory != "Flat")
    again += f" --set index.window_sentences={manifest.window_sentences}" * (manifest.window_sentences > 0)
    rebuild = f"rm -r {shlex.quote(str(generation))} && {again}"
    found = Counter(passage.id.split("@")[0] for passage in corpus)
    stated = {row["sha256"][:HASH_CHARACTERS]: row["n_passages"] for row in documents}
    if orphans := sum(n for name, n in found.items() if name not in stated):
        yield Finding("broken", f"{orphans:,} passages are of no document that it lists", rebuild)
    if short := sum(found[name] != n for name, n in stated.items()):
        yield Finding("broken", f"{short:,} documents have more or fewer passages than listed", rebuild)
    parsed = ParsedDocuments(folder)
    if lost := sum(parsed.read(row["sha256"]) is None for row in documents):
        yield Finding(
            "waste",
            f"{lost:,} documents cannot be opened on a source card",
            f"rag ingest -i {shlex.quote(str(folder))}",
        )
    changed, gone = [], []
    for row in documents:
        for place in row["paths"]:
            path = Path(place["root"]) / place["path"] if place["path"] else Path(place["root"])
            if not path.is_file():
                gone.append(path)
            elif not _holds(path, row["sha256"]):
                changed.append(path)
    for paths, word in ((changed, "changed"), (gone, "gone")):
        if paths:
            yield Finding(
                "stale", f"{_named(paths)} {word} since they were taken in", f"rag ingest -i {shlex.quote(str(folder))}"
            )


def _holds(path: Path, sha256: str) -> bool:
    try:
        return file_sha256(path) == sha256
    except OSError:
        return False


def _named(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}"


def _leftovers(folder: Path, generation: Path, mend: str) -> Iterator[Finding]:
    if (folder / BUILDING).is_dir():
        yield Finding("waste", "an unfinished build is there", f"run the command again that made it: {mend}")
    kept = {generation.name, _pointer(folder, PREVIOUS)}
    for other in sorted(folder.glob("generation-*")):
        if other.name not in kept:
            yield Finding("waste", f"{other.name} serves no more", f"rm -r {shlex.quote(str(other))}")
