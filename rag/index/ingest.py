"""Files and folders become an index of documents, and the index follows their changes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag.compute.hardware import describe_hardware
from rag.data.pieces import Pieces
from rag.documents.collection import Ingested, KnownDocument, Splitter, make_passages, split_here
from rag.documents.duplicates import near_duplicates
from rag.documents.ocr import usable
from rag.documents.parsed import ParsedDocuments, parse_all
from rag.documents.records import DocumentRecord
from rag.documents.scan import FoundFile, Look, Scan, look_now
from rag.documents.web.crawl import Visit, WebLimits, follow_sites
from rag.documents.web.store import WebPages
from rag.documents.worker import ParserProcess
from rag.errors import ConfigError
from rag.index.folder import writer_lock
from rag.index.follow import (
    Followed,
    check_named,
    documents_before,
    find_files,
    followed_now,
    holds_nothing,
    nothing_readable,
    nothing_to_read,
)
from rag.index.questions import Asking
from rag.index.read import kept_documents
from rag.index.write import build_generation
from rag.lazy import Lazy
from rag.progress import progress, say
from rag.retrieve.encoder import Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How documents are read and split: limits for each file, Tesseract's languages, and the length of passages.

    `web` are the limits within which web pages are fetched.
    """

    max_file_mib: float = 100.0
    seconds_per_file: float = 120.0
    ocr_languages: str = "eng"
    chunk_tokens: int = 256
    overlap_tokens: int = 32
    web: WebLimits = field(default_factory=WebLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How the index of documents is made. The `encoder` loads once the documents are read.

    None as `factory`, `window_sentences` or `language` keeps what an index has, or finds it (`build_index`). `asking`
    says which questions are kept beside the passages.
    """

    encoder: Lazy[Encoder]
    encoder_model: str = ""
    factory: str | None = None
    window_sentences: int | None = None
    language: str | None = None
    asking: Asking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How a watcher looks at files, beside the plain way of a single ingest.

    `look` says which state of a file is taken; `is_really_empty` whether an empty folder is no drive that is not
    mounted; `may_end_empty` whether the last document may go; `visits` whether web pages are looked at, too.
    """

    look: Look = look_now
    is_really_empty: Callable[[str], bool] = lambda root: False
    may_end_empty: bool = False
    visits: bool = True


def ingest(
    paths: Sequence[str | Path],
    index_folder: str | Path,
    reading: Reading,
    making: Making,
    *,
    forget: Sequence[str | Path] = (),
    depth: int | None = None,
    names: Mapping[str, str] | None = None,
    watching: Watching | None = None,
) -> Ingested:
    """Ingest files, folders and web pages, and bring the index up to date with those ingested before.

    Without paths, it only follows those. `forget` names what to leave out from now on, until it is named again; so the
    last documents can be taken out, too. `depth` is how many links away from the addresses among `paths` pages are
    taken. `names` gives collections to what lies below paths, or is found from addresses. Documents that are gone are
    dropped, changed ones replaced; a passage whose content the index holds already is not encoded again. A file that
    cannot be read is listed with its reason and stops nothing. Raises DataError where
    nothing readable is left, unasked, and IndexMismatchError for an index that was made from a corpus file.

    Nothing that serves changes before the new generation is whole. A killed run leaves texts of parsed files and shards
    of vectors, from which the same command goes on.
    """
    check_named(paths, index_folder)
    watching = watching or Watching()
    with writer_lock(index_folder):
        # What the index holds, and which files it is to hold.
        before, followed = documents_before(index_folder)
        followed = followed_now(followed, paths, forget, index_folder, depth, names)
        pages = WebPages(index_folder)
        files, found, visit = _files(followed, before.values(), index_folder, pages, reading, watching)
        may_end_empty = bool(forget) or watching.may_end_empty or holds_nothing(index_folder)
        if not files and not may_end_empty:
            raise nothing_to_read(followed, found, index_folder)
        # Parse what is new or changed. Each text is stored as soon as it is parsed: a killed run has lost one file.
        store = ParsedDocuments(index_folder)
        parser = ParserProcess(seconds=reading.seconds_per_file, ocr_languages=reading.ocr_languages)
        with contextlib.closing(parser):
            failed = _parse(files, store, parser, reading)
            # Split it. What has not changed keeps its passages, and these their vectors.
            encoder = making.encoder.get()
            passages, documents = _split(files, store, parser, encoder, reading, before, failed)
        # What was read before and cannot be read any more is no wish for an index without documents.
        if files and not passages and not (may_end_empty and before.keys().isdisjoint(file.sha256 for file in files)):
            raise nothing_readable(followed, files, failed, index_folder)
        # Encode, write, and switch to the new generation.
        manifest = build_generation(
            passages.corpus(),
            index_folder,
            encoder,
            documents=[dataclasses.asdict(document) for document in documents],
            sources=followed.leaving_out({**found.left_out, **failed}).as_json(),
            encoder_model=making.encoder_model,
            factory=making.factory,
            window_sentences=making.window_sentences,
            language=making.language,
            hardware=describe_hardware(),
            asking=making.asking,
        )
        # Only now drop texts, keeping those of the generation before too: `rag rollback` may go back to it.
        needed = {row["sha256"] for row in kept_documents(index_folder)}
        store.keep_only(needed | {file.sha256 for file in files})
        pages.keep_only(followed.sites, followed.forgotten)
    now = {document.sha256 for document in documents}
    return Ingested(
        fingerprint=manifest.fingerprint,
        n_passages=len(passages),
        documents=documents,
        left_out={**found.left_out, **failed},
        other_kinds=dict(found.other_kinds + visit.other_kinds),
        added=len(now - before.keys()),
        removed=len(before.keys() - now),
        kept=len(now & before.keys()),
        near_duplicates=near_duplicates(documents, now - before.keys()),
        not_updated=visit.not_updated,
        passed_over=dict(visit.passed_over),
    )


def _files(
    followed: Followed,
    before: Iterable[KnownDocument],
    index_folder: str | Path,
    pages: WebPages,
    reading: Reading,
    watching: Watching,
) -> tuple[list[FoundFile], Scan, Visit]:
    """(the files to read, web pages included; what the folders hold besides; what the web pages did)."""
    found = find_files(
        followed,
        before,
        index_folder,
        int(reading.max_file_mib * 2**20),
        look=watching.look,
        is_really_empty=watching.is_really_empty,
    )
    visit = Visit()
    if followed.sites and watching.visits:
        visit = follow_sites(pages, followed.sites, followed.forgotten, reading.web)
        found.left_out |= visit.left_out
    files = [*found.files, *pages.files(followed.sites, followed.forgotten)]
    return followed.named(files, pages.roots_of), found, visit


def uploads_folder(index_folder: str | Path) -> Path:
    """The folder that keeps the files that are added to an index on its page: it lies beside the index."""
    index = Path(index_folder).resolve()
    return index.with_name(index.name + ".uploads")


def _parse(
    files: Sequence[FoundFile], store: ParsedDocuments, parser: ParserProcess, reading: Reading
) -> dict[str, str]:
    """Parse what the store lacks, in a process of its own; returns path -> reason for those that cannot be read."""
    with progress("Reading", len(files), "files") as bar:
        parser.on_page = lambda: bar.advance(0)
        return parse_all(files, store, parser.parse, bar.advance, usable(reading.ocr_languages))


def _split(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    parser: ParserProcess,
    encoder: Encoder,
    reading: Reading,
    before: Mapping[str, KnownDocument],
    failed: dict[str, str],
) -> tuple[Pieces, list[DocumentRecord]]:
    """The passages of all files, and their documents; files that cannot be split are added to `failed`.

    Passages are as long as the encoder takes, at most. Raises ConfigError where its prompt leaves no room for any.
    """
    room = encoder.room_tokens
    if room < 1:
        raise ConfigError("the encoder's prompt leaves no room for passages: set a shorter encoder.passage_prompt")
    longest = min(reading.chunk_tokens, room)
    if longest < reading.chunk_tokens:
        asked = reading.chunk_tokens
        say(f"documents.chunk_tokens is {asked}, but the encoder takes {room}: passages have {room} tokens at most")
    chunking = {
        "max_tokens": longest,
        "overlap_tokens": reading.overlap_tokens,
        "encoder": encoder.fingerprint.weights_sha256,
    }
    split: Splitter = getattr(parser, "split", split_here)  # a parser may leave it to this process
    with progress("Splitting", len(files), "files") as bar:
        parser.on_page = lambda: bar.advance(0)
        return make_passages(
            files, store, encoder.count_tokens, chunking, before, bar.advance, split=split, failed=failed
        )
