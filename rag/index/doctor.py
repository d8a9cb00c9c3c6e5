"""Is an index whole, and does it still fit what it was made from? Every finding names the command that fixes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rag import fixes
from rag.data.passages import Corpus
from rag.documents.parsed import ParsedDocuments
from rag.documents.records import HASH_CHARACTERS, path_of
from rag.errors import ConfigError, DataError, IndexMismatchError, RagError
from rag.files import file_sha256
from rag.index.calibration import is_written, read_calibration
from rag.index.folder import BUILDING, PREVIOUS, current_generation, read_pointer
from rag.index.language import Contents, is_from_before, language_name
from rag.index.manifest import Manifest, check_source
from rag.index.parts import DOCUMENTS, SOURCES, TABLE, damage_to, has_hashes
from rag.index.read import OpenIndex, open_generation, read_sources, rows_of_documents
from rag.index.segments import Vectors, passage_files
from rag.languages import ENGLISH, detect_language
from rag.lazy import Lazy
from rag.retrieve.encoder import Encoder
from rag.scripts import composed, count_words
from rag.store.note import has_note
from rag.types import document_of

SAMPLED_VECTORS = 16
LEAST_COSINE = 0.99

Severity = Literal["broken", "stale", "waste"]
WORST_FIRST: tuple[Severity, ...] = ("broken", "stale", "waste")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with an index, and the command that fixes it.

    `broken` means wrong or no answers, `stale` answers from another state than the files', `waste` disk space. The
    names of the fields are those of `rag doctor --json`.
    """

    severity: Severity
    what: str
    mend: str


def examine(index_folder: str | Path, encoder: Lazy[Encoder]) -> list[Finding]:
    """Everything that is wrong with an index, the worst first; [] for a sound one.

    Looks at the generation that serves: each of its parts against the hash that it was written with; passages, vectors
    and BM25 against one another and against `encoder`, the one that serves (16 passages are embedded again); and the
    files that it was made from.
    """
    findings = list(_examine(Path(index_folder), encoder))
    return sorted(findings, key=lambda finding: WORST_FIRST.index(finding.severity))


def finding_lines(findings: Sequence[Finding], folder: Path) -> list[str]:
    """The findings for a terminal."""
    if not findings:
        return [f"{folder} is sound{_without_hashes(folder)}"]
    return [line for each in findings for line in (f"{each.severity}: {each.what}", f"    fix it: {each.mend}")]


def _without_hashes(folder: Path) -> str:
    """What is not seen in an index that an earlier version made, and the command that mends that."""
    if has_note(folder):
        return ""
    generation, manifest = current_generation(folder)
    if has_hashes(generation):
        return ""
    add = fixes.remake(folder, manifest.corpus_path)
    return f", as far as can be seen: it was made before parts had hashes; add them: {add}"


def _examine(folder: Path, encoder: Lazy[Encoder]) -> Iterator[Finding]:
    try:
        generation, manifest = current_generation(folder)
    except IndexMismatchError as error:
        yield Finding("broken", error.what, _or_rolled_back(folder, error.fix))
        return
    corpus: Corpus | None = None
    try:
        index = open_generation(generation, manifest, anew=True)
        corpus = index.corpus
        index.check_holds_passages()
    except DataError as error:  # nothing is wrong, but nothing can be asked
        yield Finding("waste", str(error).split(";")[0], fixes.ingest(folder, ["PATH"]))
    except IndexMismatchError as error:  # without its passages there is nothing to hold the other parts against
        yield Finding("broken", error.what, error.fix)
    else:
        # Other bytes of the same passages: copied, or edited by hand. Without their table, opening is slow.
        names = () if has_note(folder) else (*(file.name for file in passage_files(generation).values()), TABLE)
        if damage := next((found for name in names if (found := damage_to(generation, name))), ""):
            yield Finding("broken", damage, fixes.remake(folder, manifest.corpus_path))
        yield from _vectors(index, encoder)
        yield from _questions(index)
        yield from _bm25(index)
        yield from _language(index)
    yield from _source(folder, manifest)
    yield from _documents(folder, generation, manifest, corpus)
    yield from _calibration(folder, manifest)
    yield from _leftovers(folder, generation, manifest)


def _or_rolled_back(folder: Path, fix: str) -> str:
    """The fix of an index of which nothing can be read; going back is quicker, where there is a generation before."""
    if read_pointer(folder, PREVIOUS) is None or fix == fixes.roll_back(folder):
        return fix
    return f"{fixes.roll_back(folder)}, or build it again: {fix}"


def _vectors(index: OpenIndex, serving: Lazy[Encoder]) -> Iterator[Finding]:
    """Whether the vectors are all there, of the encoder that serves, and of these passages."""
    try:
        vectors = index.vectors()
        encoder = serving.get()
        index.check_encoder(encoder.fingerprint)
    except IndexMismatchError as error:
        yield Finding("broken", error.what, error.fix)
        return
    yield from _sampled(encoder, vectors, index)


def _sampled(encoder: Encoder, vectors: Vectors, index: OpenIndex) -> Iterator[Finding]:
    if "PQ" in index.manifest.factory or "SQ" in index.manifest.factory:
        return  # compressed vectors differ by design
    size = min(SAMPLED_VECTORS, len(index.corpus))
    rows = np.sort(np.random.default_rng(0).choice(len(index.corpus), size, replace=False)).tolist()
    # Earlier versions embedded soft hyphens and letters of several characters as they are.
    rows = [row for row in rows if composed(index.corpus[row].content) == index.corpus[row].content]
    if not rows:
        return
    try:
        stored = vectors.vectors(rows)
    except ConfigError:
        return  # this kind of index gives no vectors back
    fresh, _ = encoder.encode_passages([index.corpus[row].content for row in rows])
    cosines = np.einsum("nd,nd->n", stored, fresh)
    n_wrong = int((cosines < LEAST_COSINE).sum())
    if n_wrong:
        what = f"{n_wrong} of {len(rows)} vectors checked are not those of their passages"
        yield Finding("broken", what, fixes.encode_again(index.folder.parent))


def _questions(index: OpenIndex) -> Iterator[Finding]:
    """Whether the questions beside the passages can be read, where there are any."""
    try:
        index.questions()
    except IndexMismatchError as error:
        yield Finding("broken", error.what, error.fix)


def _bm25(index: OpenIndex) -> Iterator[Finding]:
    """Whether BM25 opens, and answers a question."""
    try:
        retriever = index.bm25()
    except IndexMismatchError as error:
        yield Finding("broken", error.what, error.fix)
        return
    sample = next((passage for passage in index.corpus if count_words(passage.text) > 3), None)
    if sample is None:
        return
    try:
        retriever.retrieve([sample.text[:500]], 1)
    except (RagError, OSError, ValueError, IndexError, KeyError) as error:
        what = f"its BM25 index cannot be used ({error})"
        yield Finding("broken", what, fixes.encode_again(index.folder.parent))


def _language(index: OpenIndex) -> Iterator[Finding]:
    """Whether an index from before languages were found takes other passages for English."""
    if is_from_before(index.manifest):
        language = detect_language(Contents(index.corpus))
        if language != ENGLISH:
            what = f"it was made as if in English, and its passages are in {language_name(language)}"
            yield Finding("stale", what, fixes.encode_again(index.folder.parent))


def _source(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Whether the corpus file is still the one that was indexed."""
    try:
        check_source(manifest, folder)
    except IndexMismatchError as error:
        yield Finding("stale", error.what, error.fix)
    except RagError as error:  # the file has changed, and is no corpus any more
        yield Finding("stale", str(error), fixes.remake(folder, manifest.corpus_path))


def _documents(folder: Path, generation: Path, manifest: Manifest, corpus: Corpus | None) -> Iterator[Finding]:
    """Whether passages and documents agree, and whether the files are still those that were ingested."""
    try:
        sources = read_sources(generation)
        documents = rows_of_documents(generation)
    except IndexMismatchError as error:
        yield Finding("broken", error.what, error.fix)
        return
    counts = [] if corpus is None else list(_counts(corpus, documents, _anew(folder, generation, manifest, sources)))
    yield from counts
    if not counts and not has_note(folder):
        for name in (DOCUMENTS, SOURCES):
            if damage := damage_to(generation, name):
                yield Finding("broken", damage, fixes.ingest(folder))
    if not documents:
        return
    parsed = ParsedDocuments(folder)
    n_lost = sum(parsed.read(row["sha256"], any_version=True) is None for row in documents)
    if n_lost:
        yield Finding("waste", f"{n_lost:,} documents cannot be opened on a source card", fixes.ingest(folder))
    yield from _files(folder, documents)


def _counts(corpus: Corpus, documents: Sequence[Mapping], fix: str) -> Iterator[Finding]:
    """Whether every document has as many passages as it says, and every passage a document; nothing without any."""
    if not documents:
        return
    found = Counter(map(document_of, corpus.ids()))
    listed = {row["sha256"][:HASH_CHARACTERS]: row["n_passages"] for row in documents}
    n_orphans = sum(n for name, n in found.items() if name not in listed)
    if n_orphans:
        yield Finding("broken", f"{n_orphans:,} passages are of no document that it lists", fix)
    n_wrong = sum(found[name] != n for name, n in listed.items())
    if n_wrong:
        yield Finding("broken", f"{n_wrong:,} documents have more or fewer passages than listed", fix)


def _anew(folder: Path, generation: Path, manifest: Manifest, sources: Mapping) -> str:
    """The command that makes an index of documents from nothing but its files, as it is set now."""
    settings = []
    if manifest.factory != "Flat":
        settings.append(f"index.factory={manifest.factory}")
    if manifest.window_sentences:
        settings.append(f"index.window_sentences={manifest.window_sentences}")
    if manifest.questions:
        settings.append(f"index.questions={manifest.questions}")
    ingest = fixes.ingest(folder, sources["roots"] or ["PATH"], forget=sources["forgotten"], settings=settings)
    return f"{fixes.remove(generation)} && {ingest}"


def _files(folder: Path, documents: Sequence[Mapping]) -> Iterator[Finding]:
    """Whether the files still hold what was ingested."""
    changed: list[Path] = []
    gone: list[Path] = []
    for row in documents:
        for place in row["paths"]:
            if place.get("address"):  # followed by its own ways, not by a file
                continue
            path = path_of(place)
            if not path.is_file():
                gone.append(path)
            elif not _holds(path, row["sha256"]):
                changed.append(path)
    if changed:
        yield Finding("stale", f"{_named(changed)} changed since the last ingest", fixes.ingest(folder))
    if gone:
        yield Finding("stale", f"{_named(gone)} gone since the last ingest", fixes.ingest(folder))


def _holds(path: Path, sha256: str) -> bool:
    try:
        return file_sha256(path) == sha256
    except OSError:
        return False


def _named(paths: Sequence[Path]) -> str:
    others = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
    return f"{paths[0]}{others}"


def _calibration(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    try:
        calibration = read_calibration(folder)
    except IndexMismatchError as error:
        yield Finding("stale", error.what, error.fix)
        return
    if calibration is not None and calibration.get("index") != manifest.fingerprint:
        made_from = " from written questions" if is_written(calibration) else ""
        what = f"its calibration{made_from} was made before it changed, and is not applied"
        yield Finding("stale", what, fixes.calibrate(folder, written=is_written(calibration)))


def _leftovers(folder: Path, generation: Path, manifest: Manifest) -> Iterator[Finding]:
    """What a kill left behind and nothing needs."""
    if (folder / BUILDING).is_dir():
        fix = f"run the command again that made it: {fixes.remake(folder, manifest.corpus_path)}"
        yield Finding("waste", "an unfinished build is there", fix)
    kept = (generation, read_pointer(folder, PREVIOUS))
    for other in sorted(folder.glob("generation-*")):
        if other not in kept:
            yield Finding("waste", f"{other.name} serves no more", fixes.remove(other))
