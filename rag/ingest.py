"""Files and folders become an index, and an index follows them: settings and paths in, passages and a summary out."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.build import make_encoder
from rag.config import Settings
from rag.data import Corpus
from rag.documents.collection import (
    HASH_CHARACTERS,
    FoundFile,
    Ingested,
    ParsedDocuments,
    make_passages,
    near_duplicates,
    parse_all,
    scan,
)
from rag.documents.worker import ParserProcess
from rag.errors import ConfigError, DataError, IndexMismatchError
from rag.inference import describe_hardware
from rag.progress import progress
from rag.retrieve.store import build_generation, open_index, read_documents, serves, writer_lock
from rag.types import Passage


def ingest(
    settings: Settings, paths: Sequence[str | Path], index_folder: str | Path, *, forget: Sequence[str | Path] = ()
) -> Ingested:
    """Take files and folders into an index, and bring those taken in before up to date.

    Without paths, what was named before is looked at again. `forget` names files or folders to leave out from now on.
    Documents that are gone are dropped, changed ones replaced; a passage whose content the index holds already is not
    encoded again. One bad file never stops a run. Raises DataError where nothing readable is left, IndexMismatchError
    for an index that was made from a corpus file.
    """
    for path in paths:
        if not Path(path).exists():
            raise DataError(f"{path} does not exist; name files or folders to take in")
    if not paths and not serves(index_folder):
        raise DataError(f"{index_folder} holds no index yet; name files or folders to take in")
    with writer_lock(index_folder):
        before = _documents_before(index_folder)
        roots = _roots(before, paths, forget)
        found = scan(roots, max_bytes=int(settings.documents.max_file_mib * 2**20))
        files = _without(found.files, forget)
        if not files:
            reasons = "; ".join(f"{path}: {reason}" for path, reason in list(found.left_out.items())[:3])
            raise DataError(
                f"there is nothing to read in {', '.join(map(str, roots))}" + (f" ({reasons})" * bool(reasons))
            )
        store = ParsedDocuments(index_folder)
        parser = ParserProcess(seconds=settings.documents.max_seconds_per_file)
        try:
            with progress("Reading", len(files), "files") as bar:
                failed = parse_all(files, store, parser.parse, bar.advance)
        finally:
            parser.close()
        encoder = make_encoder(settings, lazy=True)
        chunks = settings.documents
        if chunks.chunk_tokens > encoder.room_tokens:
            raise ConfigError(
                f"documents.chunk_tokens is {chunks.chunk_tokens}, but the encoder takes {encoder.room_tokens} at most"
            )
        chunking = {
            "max_tokens": chunks.chunk_tokens,
            "overlap_tokens": chunks.overlap_tokens,
            "encoder": encoder.fingerprint.weights_sha256,
        }
        with progress("Splitting", len(files), "files") as bar:
            passages, documents = make_passages(files, store, encoder.count_tokens, chunking, before, bar.advance)
        if not passages:
            path, reason = next(iter(failed.items()))
            raise DataError(f"none of {len(files):,} files can be read, such as {path}: {reason}")
        manifest = build_generation(
            Corpus(passages),
            index_folder,
            encoder,
            documents=[dataclasses.asdict(document) for document in documents],
            encoder_model=settings.encoder.model,
            factory=settings.index.factory,
            hardware=describe_hardware(),
        )
        now, then = {d.sha256 for d in documents}, set(before)
        store.keep_only(now | then | {file.sha256 for file in files})
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


def add_uploads(
    settings: Settings, files: Sequence[str | Path], index_folder: str | Path, uploads: str | Path
) -> Ingested:
    """Copy files into a folder of their own and take it in beside what the index holds.

    A name that is taken by other content gets a number; only the last part of a name counts.
    """
    folder = Path(uploads)
    folder.mkdir(parents=True, exist_ok=True)
    for file in map(Path, files):
        name = re.sub(r"[\x00-\x1f/\\\\]", "_", file.name).lstrip(".") or "upload"
        target, n = folder / name, 1
        while target.exists() and target.read_bytes() != file.read_bytes():
            target, n = folder / f"{Path(name).stem} ({n}){Path(name).suffix}", n + 1
        shutil.copyfile(file, target)
    return ingest(settings, [folder], index_folder)


def _documents_before(index_folder: str | Path) -> dict[str, tuple[dict, list[Passage]]]:
    """The record and the passages of every document that the index holds, by its hash."""
    try:
        opened = open_index(index_folder)
    except IndexMismatchError:
        if serves(index_folder):
            raise
        return {}
    if opened.manifest.corpus_path:
        raise IndexMismatchError(
            f"{index_folder} was made from {opened.manifest.corpus_path}; take documents into an index of their own"
        )
    passages: dict[str, list[Passage]] = {}
    for passage in opened.corpus:
        passages.setdefault(passage.id.split("@")[0], []).append(passage)
    return {
        row["sha256"]: (row, passages.get(row["sha256"][:HASH_CHARACTERS], [])) for row in read_documents(opened.folder)
    }


def _roots(
    before: Mapping[str, tuple[Mapping, object]], paths: Sequence[str | Path], forget: Sequence[str | Path]
) -> list[str]:
    """What was named before and now, without what is to be forgotten, and nothing inside another root twice."""
    known = [place["root"] for record, _ in before.values() for place in record["paths"]]
    forgotten = {str(Path(path).resolve()) for path in forget}
    new = {str(Path(path).resolve()) for path in paths}
    # A folder taken in before may be gone since: its documents are, too.
    roots = [root for root in dict.fromkeys([*known, *sorted(new)]) if root in new or Path(root).exists()]
    roots = [root for root in roots if root not in forgotten]
    if not roots:
        raise DataError("name files or folders to take in")
    return [r for r in roots if not any(other != r and Path(r).is_relative_to(other) for other in roots)]


def _without(files: Sequence[FoundFile], forget: Sequence[str | Path]) -> list[FoundFile]:
    """Files that are not below a path to forget."""
    forgotten = [Path(path).resolve() for path in forget]
    return [file for file in files if not any(file.full_path.is_relative_to(path) for path in forgotten)]
