"""Files and folders become an index, and an index follows them: settings and paths in, passages and a summary out."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.compute.hardware import describe_hardware
from rag.data.passages import Corpus
from rag.documents.collection import Ingested, make_passages
from rag.documents.duplicates import near_duplicates
from rag.documents.ocr import usable
from rag.documents.parsed import ParsedDocuments, parse_all
from rag.documents.records import HASH_CHARACTERS
from rag.documents.scan import FoundFile, scan
from rag.documents.worker import ParserProcess
from rag.errors import ConfigError, DataError, IndexMismatchError, RagError
from rag.index.folder import is_index, serves, serving_manifest, writer_lock
from rag.index.read import kept_documents, open_index, read_documents, read_sources
from rag.index.write import build_generation
from rag.lazy import Lazy
from rag.progress import progress, say
from rag.retrieve.encoder import Encoder
from rag.types import Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How documents are read and split: limits for each file, Tesseract's languages, and the length of passages."""

    max_file_mib: float = 100.0
    seconds_per_file: float = 120.0
    ocr_languages: str = "eng"
    chunk_tokens: int = 256
    overlap_tokens: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How the index of documents is made. `encoder` is asked for once the documents are read.

    None as `factory` or `window_sentences` keeps what an index has (`build_index`).
    """

    encoder: Lazy[Encoder]
    encoder_model: str = ""
    factory: str | None = None
    window_sentences: int | None = None


def ingest(
    paths: Sequence[str | Path],
    index_folder: str | Path,
    reading: Reading,
    making: Making,
    *,
    forget: Sequence[str | Path] = (),
) -> Ingested:
    """Take files and folders into an index, and bring those taken in before up to date.

    Without paths, what was named before is looked at again. `forget` names files or folders to leave out from now on,
    until they are named again. Documents that are gone are dropped, changed ones replaced; a passage whose content the
    index holds already is not encoded again. One bad file never stops a run. Raises DataError where nothing readable is
    left, IndexMismatchError for an index that was made from a corpus file.
    """
    for path in paths:
        if not Path(path).exists():
            raise DataError(f"{path} does not exist; name files or folders to take in")
    if not paths and not serves(index_folder):
        raise DataError(f"{index_folder} holds no index yet; name files or folders to take in")
    with writer_lock(index_folder):
        before, sources = _documents_before(index_folder)
        roots, forgotten = _sources(sources, paths, forget)
        if gone := [root for root in roots if not Path(root).exists()]:
            raise DataError(
                f"{gone[0]} was taken in before and is gone; bring it back, or drop its documents: "
                f"rag ingest -i {shlex.quote(str(index_folder))} --forget {shlex.quote(gone[0])}"
            )
        found = scan(roots, max_bytes=int(reading.max_file_mib * 2**20), is_index=is_index)
        files = _once(found.files, forgotten)
        if not files:
            reasons = "; ".join(f"{path}: {reason}" for path, reason in list(found.left_out.items())[:3])
            raise DataError(
                f"there is nothing to read in {', '.join(map(str, roots))}" + (f" ({reasons})" * bool(reasons))
            )
        store = ParsedDocuments(index_folder)
        parser = ParserProcess(seconds=reading.seconds_per_file, ocr_languages=reading.ocr_languages)
        try:
            with progress("Reading", len(files), "files") as bar:
                parser.on_page = lambda: bar.advance(0)
                failed = parse_all(files, store, parser.parse, bar.advance, usable(reading.ocr_languages))
        finally:
            parser.close()
        encoder = making.encoder.get()
        if reading.chunk_tokens > encoder.room_tokens:
            raise ConfigError(
                f"documents.chunk_tokens is {reading.chunk_tokens}, but the encoder takes {encoder.room_tokens} at most"
            )
        chunking = {
            "max_tokens": reading.chunk_tokens,
            "overlap_tokens": reading.overlap_tokens,
            "encoder": encoder.fingerprint.weights_sha256,
        }
        with progress("Splitting", len(files), "files") as bar:
            passages, documents = make_passages(files, store, encoder.count_tokens, chunking, before, bar.advance)
        if not passages:
            path, reason = next(iter(failed.items()), (files[0].full_path, "holds headings only"))
            raise DataError(f"none of {len(files):,} files can be read, such as {path}: {reason}")
        manifest = build_generation(
            Corpus(passages),
            index_folder,
            encoder,
            documents=[dataclasses.asdict(document) for document in documents],
            sources={"roots": roots, "forgotten": forgotten},
            encoder_model=making.encoder_model,
            factory=making.factory,
            window_sentences=making.window_sentences,
            hardware=describe_hardware(),
        )
        now, then = {d.sha256 for d in documents}, set(before)
        kept = {row["sha256"] for row in kept_documents(index_folder)}
        store.keep_only(kept | {file.sha256 for file in files})
    return Ingested(
        manifest.fingerprint,
        len(passages),
        documents,
        {**found.left_out, **failed},
        dict(found.other_kinds),
        len(now - then),
        len(then - now),
        len(now & then),
        near_duplicates(documents, now - then),
    )


def uploads_folder(index_folder: str | Path) -> Path:
    """Where the files that are added to an index on its page are kept: beside it."""
    index = Path(index_folder).resolve()
    return index.with_name(index.name + ".uploads")


def add_uploads(
    files: Sequence[str | Path],
    index_folder: str | Path,
    uploads: str | Path,
    reading: Reading,
    making: Making,
) -> Ingested:
    """Copy files into a folder of their own and take it in beside what the index holds.

    A name that is taken by other content gets a number; only the last part of a name counts. New copies that cannot be
    read are not kept, and none is where the work fails or is stopped.
    """
    folder = Path(uploads)
    folder.mkdir(parents=True, exist_ok=True)
    new: list[Path] = []
    for file in map(Path, files):
        name = re.sub(r"[\x00-\x1f/\\\\]", "_", file.name).lstrip(".") or "upload"
        target, n = folder / name, 1
        while target.exists() and target.read_bytes() != file.read_bytes():
            target, n = folder / f"{Path(name).stem} ({n}){Path(name).suffix}", n + 1
        if not target.exists():
            new.append(target)
            shutil.copyfile(file, target)
    try:
        result = ingest([folder], index_folder, reading, making)
    except Exception:
        for path in new:
            path.unlink(missing_ok=True)
        raise
    for path in new:
        if str(path.resolve()) in result.left_out:
            path.unlink()
    return result


def _documents_before(index_folder: str | Path) -> tuple[dict[str, tuple[dict, list[Passage]]], dict]:
    """The record and the passages of every document that the index holds, by its hash; and its sources."""
    if not serves(index_folder):
        return {}, {"roots": [], "forgotten": []}
    generation, manifest = serving_manifest(index_folder)
    if manifest.corpus_path:
        raise IndexMismatchError(
            f"{index_folder} was made from {manifest.corpus_path}; take documents into an index of their own"
        )
    sources = read_sources(generation)
    try:
        corpus, rows = open_index(index_folder).corpus, read_documents(generation)
    except RagError as error:  # damaged: all is read and split anew
        say(f"{error}; taking everything in again")
        return {}, sources
    passages: dict[str, list[Passage]] = {}
    for passage in corpus:
        passages.setdefault(passage.id.split("@")[0], []).append(passage)
    documents = {row["sha256"]: (row, passages.get(row["sha256"][:HASH_CHARACTERS], [])) for row in rows}
    return documents, sources


def _sources(before: Mapping, paths: Sequence[str | Path], forget: Sequence[str | Path]) -> tuple[list[str], list[str]]:
    """(what was named before and now, what is left out for good); naming something again takes it back in."""
    named = [str(Path(path).resolve()) for path in paths]
    dropped = [str(Path(path).resolve()) for path in forget]
    forgotten = [path for path in dict.fromkeys([*before["forgotten"], *dropped]) if path not in named]
    roots = [root for root in dict.fromkeys([*before["roots"], *named]) if root not in forgotten]
    if not roots:
        raise DataError("name files or folders to take in")
    return roots, [path for path in forgotten if any(Path(path).is_relative_to(root) for root in roots)]


def _once(files: Sequence[FoundFile], forgotten: Sequence[str]) -> list[FoundFile]:
    """Files that are not to be left out, each once, however many of the roots it lies below."""
    found: dict[Path, FoundFile] = {}
    for file in files:
        if not any(file.full_path.is_relative_to(path) for path in forgotten):
            found.setdefault(file.full_path, file)
    return list(found.values())
