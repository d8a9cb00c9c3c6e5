"""Files and folders become an index of documents, and the index follows their changes."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag import fixes
from rag.compute.hardware import describe_hardware
from rag.data.passages import Corpus
from rag.documents.collection import Ingested, KnownDocument, make_passages
from rag.documents.duplicates import near_duplicates
from rag.documents.ocr import usable
from rag.documents.parsed import ParsedDocuments, parse_all
from rag.documents.records import HASH_CHARACTERS, DocumentRecord
from rag.documents.scan import FoundFile, Scan, scan
from rag.documents.worker import ParserProcess
from rag.errors import ConfigError, DataError, IndexMismatchError
from rag.index.folder import is_index, read_current, serves, writer_lock
from rag.index.manifest import read_manifest
from rag.index.read import kept_documents, open_generation, read_documents, read_sources
from rag.index.write import build_generation
from rag.lazy import Lazy
from rag.progress import progress, say
from rag.retrieve.encoder import Encoder
from rag.types import Passage

MAX_REASONS = 3


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
    """How the index of documents is made. The `encoder` loads once the documents are read.

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
    """Ingest files and folders, and bring the index up to date with those ingested before.

    Without paths, it only follows those. `forget` names files or folders to leave out from now on, until they are named
    again. Documents that are gone are dropped, changed ones replaced; a passage whose content the index holds already
    is not encoded again. A file that cannot be read is listed with its reason and stops nothing. Raises DataError where
    nothing readable is left, IndexMismatchError for an index that was made from a corpus file.

    Nothing that serves changes before the new generation is whole. A killed run leaves texts of parsed files and shards
    of vectors, from which the same command goes on.
    """
    _check_named(paths, index_folder)
    with writer_lock(index_folder):
        # What the index holds, and which files it is to hold.
        before, sources = _documents_before(index_folder)
        roots, forgotten = _sources(sources, paths, forget)
        found, files = _find(roots, forgotten, index_folder, reading)
        # Parse what is new or changed. Each text is stored as soon as it is parsed: a killed run has lost one file.
        store = ParsedDocuments(index_folder)
        failed = _parse(files, store, reading)
        # Split it. What has not changed keeps its passages, and these their vectors.
        encoder = making.encoder.get()
        passages, documents = _split(files, store, encoder, reading, before)
        if not passages:
            path, reason = next(iter(failed.items()), (str(files[0].full_path), "holds headings only"))
            raise DataError(f"none of {len(files):,} files can be read, such as {path}: {reason}")
        # Encode, write, and switch to the new generation.
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
        # Only now drop texts, keeping those of the generation before too: `rag rollback` may go back to it.
        needed = {row["sha256"] for row in kept_documents(index_folder)}
        store.keep_only(needed | {file.sha256 for file in files})
    now = {document.sha256 for document in documents}
    return Ingested(
        fingerprint=manifest.fingerprint,
        n_passages=len(passages),
        documents=documents,
        left_out={**found.left_out, **failed},
        other_kinds=dict(found.other_kinds),
        added=len(now - before.keys()),
        removed=len(before.keys() - now),
        kept=len(now & before.keys()),
        near_duplicates=near_duplicates(documents, now - before.keys()),
    )


def uploads_folder(index_folder: str | Path) -> Path:
    """The folder that keeps the files that are added to an index on its page: it lies beside the index."""
    index = Path(index_folder).resolve()
    return index.with_name(index.name + ".uploads")


def add_uploads(
    files: Sequence[str | Path],
    index_folder: str | Path,
    uploads: str | Path,
    reading: Reading,
    making: Making,
) -> Ingested:
    """Copy files into the folder `uploads`, and ingest it beside what the index holds.

    A name that is taken by other content gets a number; only the last part of a name counts. New copies that cannot be
    read are deleted again, and all of them where the work fails or is stopped.
    """
    new = _copied(files, Path(uploads))
    try:
        result = ingest([uploads], index_folder, reading, making)
    except Exception:
        for path in new:
            path.unlink(missing_ok=True)
        raise
    for path in new:
        if str(path.resolve()) in result.left_out:
            path.unlink()
    return result


def _copied(files: Sequence[str | Path], folder: Path) -> list[Path]:
    """Copy files into a folder; returns the copies that are new there."""
    folder.mkdir(parents=True, exist_ok=True)
    new: list[Path] = []
    for file in map(Path, files):
        name = Path(re.sub(r"[\x00-\x1f/\\\\]", "_", file.name).lstrip(".") or "upload")
        target = folder / name
        n = 0
        while target.exists() and target.read_bytes() != file.read_bytes():
            n += 1
            target = folder / f"{name.stem} ({n}){name.suffix}"
        if not target.exists():
            new.append(target)
            shutil.copyfile(file, target)
    return new


def _check_named(paths: Sequence[str | Path], index_folder: str | Path) -> None:
    """Raises DataError for a path that does not exist, or for none where there is no index yet."""
    for path in paths:
        if not Path(path).exists():
            raise DataError(f"{path} does not exist; name files or folders to ingest")
    if not paths and not serves(index_folder):
        raise DataError(f"{index_folder} holds no index yet; name files or folders to ingest")


def _documents_before(index_folder: str | Path) -> tuple[dict[str, KnownDocument], dict[str, list[str]]]:
    """Every document that the index holds, by its hash; and its sources (`read_sources`).

    Where the index is damaged, no document is known: all are split again. Raises IndexMismatchError for an index of a
    corpus file, and where nobody can say any more which files to follow.
    """
    generation = read_current(Path(index_folder))
    if generation is None:
        return {}, {"roots": [], "forgotten": []}
    try:
        manifest = read_manifest(generation)
    except IndexMismatchError as error:
        say(f"{error.what}; ingesting everything again")
        return {}, read_sources(generation)
    if manifest.corpus_path:
        raise IndexMismatchError(
            f"{index_folder} was made from {manifest.corpus_path}; ingest documents into an index of their own"
        )
    sources = read_sources(generation)
    try:
        corpus = open_generation(generation, manifest).corpus
        rows = read_documents(generation)
    except IndexMismatchError as error:
        say(f"{error.what}; ingesting everything again")
        return {}, sources
    passages: dict[str, list[Passage]] = {}
    for passage in corpus:
        passages.setdefault(passage.document, []).append(passage)
    documents = {row["sha256"]: KnownDocument(row, passages.get(row["sha256"][:HASH_CHARACTERS], [])) for row in rows}
    return documents, sources


def _sources(before: Mapping, paths: Sequence[str | Path], forget: Sequence[str | Path]) -> tuple[list[str], list[str]]:
    """(files and folders to follow, what to leave out below them); naming something again includes it again."""
    named = [str(Path(path).resolve()) for path in paths]
    dropped = [str(Path(path).resolve()) for path in forget]
    forgotten = [path for path in dict.fromkeys([*before["forgotten"], *dropped]) if path not in named]
    roots = [root for root in dict.fromkeys([*before["roots"], *named]) if root not in forgotten]
    if not roots:
        raise DataError("name files or folders to ingest")
    return roots, [path for path in forgotten if any(Path(path).is_relative_to(root) for root in roots)]


def _find(
    roots: Sequence[str], forgotten: Sequence[str], index_folder: str | Path, reading: Reading
) -> tuple[Scan, list[FoundFile]]:
    """(all that is below the roots, the files to read).

    Raises DataError where there is nothing to read, and for a root that is gone: its documents are not dropped unasked.
    """
    gone = next((root for root in roots if not Path(root).exists()), None)
    if gone is not None:
        forget = fixes.ingest(index_folder, forget=[gone])
        raise DataError(f"{gone} was ingested before and is gone; bring it back, or drop its documents: {forget}")
    found = scan(roots, max_bytes=int(reading.max_file_mib * 2**20), is_index=is_index)
    files = _once(found.files, forgotten)
    if not files:
        raise _nothing_to_read(roots, found)
    return found, files


def _once(files: Sequence[FoundFile], forgotten: Sequence[str]) -> list[FoundFile]:
    """Files that are not to be left out, each once, however many of the roots it lies below."""
    found: dict[Path, FoundFile] = {}
    for file in files:
        if not any(file.full_path.is_relative_to(path) for path in forgotten):
            found.setdefault(file.full_path, file)
    return list(found.values())


def _nothing_to_read(roots: Sequence[str], found: Scan) -> DataError:
    message = f"there is nothing to read in {', '.join(roots)}"
    if found.left_out:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(found.left_out.items())[:MAX_REASONS])
        message += f" ({reasons})"
    return DataError(message)


def _parse(files: Sequence[FoundFile], store: ParsedDocuments, reading: Reading) -> dict[str, str]:
    """Parse what the store lacks, in a process of its own; returns path -> reason for those that cannot be read."""
    parser = ParserProcess(seconds=reading.seconds_per_file, ocr_languages=reading.ocr_languages)
    try:
        with progress("Reading", len(files), "files") as bar:
            parser.on_page = lambda: bar.advance(0)
            return parse_all(files, store, parser.parse, bar.advance, usable(reading.ocr_languages))
    finally:
        parser.close()


def _split(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    encoder: Encoder,
    reading: Reading,
    before: Mapping[str, KnownDocument],
) -> tuple[list[Passage], list[DocumentRecord]]:
    """The passages of all files, and their documents. Raises ConfigError where passages would not fit the encoder."""
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
        return make_passages(files, store, encoder.count_tokens, chunking, before, bar.advance)
