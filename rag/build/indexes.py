"""Indexes of corpus files, with the encoder of the settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.build.parts import make_encoder
from rag.build.serving import Serving, serving_over
from rag.build.stores import use_store
from rag.build.written import question_generator
from rag.compute.hardware import describe_hardware
from rag.config import Settings
from rag.data.corpus import EMBEDDED, corpus_format, load_corpus
from rag.data.passages import Corpus
from rag.documents.address import canonical
from rag.documents.collection import Ingested
from rag.documents.web.crawl import WebLimits
from rag.errors import DataError, IndexMismatchError
from rag.index.doctor import Finding, examine
from rag.index.folder import serving_manifest
from rag.index.follow import known_addresses
from rag.index.ingest import Making, Reading, ingest
from rag.index.manifest import Manifest, source_is_there
from rag.index.questions import Asking
from rag.index.read import open_index, passages_in_one_file
from rag.index.removal import remove_document
from rag.index.uploads import add_uploads, check_collection
from rag.index.watch import Update, watch
from rag.index.write import build_index
from rag.lazy import Lazy
from rag.models.resolve import rag_home
from rag.progress import say

if TYPE_CHECKING:
    from rag.retrieve.encoder import Encoder


def make_index(settings: Settings, corpus: str | Path, target: str | Path, *, known: Sequence[Path] = ()) -> Manifest:
    """Index a corpus into a folder; an index that is already right is left as it is.

    `known` are generations whose questions about the same passages are taken over.
    """
    found = load_corpus(corpus)  # a bad corpus should fail before any model loads
    if read_as := corpus_format(corpus):
        say(f"{corpus}: {len(found):,} passages read ({read_as})")
    use_store(settings, target, making=True)
    return build_index(
        corpus,
        target,
        make_encoder(settings, lazy=True),
        encoder_model=settings.encoder.model,
        factory=settings.index.factory,
        window_sentences=settings.index.window_sentences,
        language=_named_language(settings),
        hardware=describe_hardware(),
        asking=_asking(settings, known),
    )


def make_index_alike(serving: Serving, model: str | Path, target: str | Path) -> Serving:
    """The same passages in an index of the same kind, made by another encoder; returns what would serve over it."""
    manifest = serving.manifest
    kind = {
        "factory": manifest.factory,
        "window_sentences": manifest.window_sentences,
        "questions": manifest.questions,
        "language": manifest.language,
    }
    settings = serving.settings.model_copy(
        update={
            "encoder": serving.settings.encoder.model_copy(update={"model": str(model), "query_model": None}),
            "index": serving.settings.index.model_copy(update=kind),
        }
    )
    corpus = manifest.corpus_path
    if not source_is_there(manifest):
        # The corpus file may be gone, or there never was one; the index holds its passages all the same.
        corpus = str(passages_in_one_file(serving.generation, Path(target).with_name(f"{Path(target).name}.jsonl")))
    make_index(settings, corpus, target, known=[serving.generation])
    return serving_over(settings, target)


def sample_index(settings: Settings) -> Path:
    """The index of the sample corpus below RAG_HOME; built first where it is missing or made by another Python.

    Says on stderr that it is the sample.
    """
    folder = rag_home() / "indexes" / EMBEDDED
    say(
        "no index was named: answering from the sample, Python's language reference "
        "(your own documents: rag ingest FOLDER -i my.index)"
    )
    try:
        serving_manifest(folder)
    except IndexMismatchError:
        say(f"building the sample's index in {folder}")
        make_index(settings, EMBEDDED, folder)
    return folder


def rebuild_index(settings: Settings, target: str | Path) -> Manifest:
    """Encode the passages of an index again with the encoder that serves."""
    from rag.index.folder import writer_lock
    from rag.index.read import read_documents, read_sources
    from rag.index.write import build_generation

    use_store(settings, target)
    serving_manifest(target)  # no folder is made where there is none
    with writer_lock(target):
        opened = open_index(target)
        return build_generation(
            opened.corpus,
            target,
            make_encoder(settings, lazy=True),
            corpus_path=opened.manifest.corpus_path,
            corpus_file_sha256=opened.manifest.corpus_file_sha256,
            documents=None if opened.manifest.corpus_path else read_documents(opened.folder),
            sources=read_sources(opened.folder),
            from_scratch=True,
            encoder_model=settings.encoder.model,
            factory=settings.index.factory,
            window_sentences=settings.index.window_sentences,
            language=_named_language(settings),
            hardware=describe_hardware(),
            asking=_asking(settings),
        )


def corpus_of(index_folder: str | Path) -> Corpus:
    return open_index(index_folder).corpus


def ingest_documents(
    settings: Settings,
    paths: Sequence[str | Path],
    index_folder: str | Path,
    *,
    forget: Sequence[str | Path] = (),
    depth: int | None = None,
    names: Mapping[str, str] | None = None,
    encoder: Encoder | None = None,
) -> Ingested:
    """`rag.index.ingest.ingest` by the settings; `encoder` is one that is loaded already."""
    use_store(settings, index_folder, making=True)
    making = _making(settings, encoder)
    return ingest(paths, index_folder, _reading(settings), making, forget=forget, depth=depth, names=names)


def watch_documents(
    settings: Settings,
    paths: Sequence[str | Path],
    index_folder: str | Path,
    *,
    on_update: Callable[[Update], None],
    stop: threading.Event,
    forget: Sequence[str | Path] = (),
    depth: int | None = None,
) -> None:
    """`rag.index.watch.watch` by the settings, with one encoder for all updates."""
    use_store(settings, index_folder, making=True)
    watch(
        paths,
        index_folder,
        _reading(settings),
        _making(settings, None),
        on_update=on_update,
        stop=stop,
        seconds=settings.documents.watch_seconds,
        web_seconds=60 * settings.web.watch_minutes,
        forget=forget,
        depth=depth,
    )


def add_files(
    settings: Settings,
    files: Sequence[str | Path],
    index_folder: str | Path,
    uploads: str | Path,
    *,
    collection: str = "",
    within: Mapping[str, str] | None = None,
    encoder: Encoder | None = None,
) -> Ingested:
    """`rag.index.ingest.add_uploads` by the settings; `encoder` is one that is loaded already."""
    reading, making = _reading(settings), _making(settings, encoder)
    return add_uploads(files, index_folder, uploads, reading, making, collection=collection, within=within)


def add_address(settings: Settings, index_folder: str | Path, address: str, collection: str = "") -> Ingested:
    """Take a web page into an index of documents, in a collection of this name or that of its host.

    A page that cannot be taken is not followed from then on. Raises DataError with the reason, and for what is no
    address.
    """
    page = canonical(address)
    before = known_addresses(index_folder)
    names = {page: check_collection(collection)} if collection else None
    result = ingest_documents(settings, [page], index_folder, names=names)
    if page not in before and (reason := {**result.not_updated, **result.left_out}.get(page)):
        ingest_documents(settings, [], index_folder, forget=[page])
        raise DataError(reason)
    return result


def remove_from_index(
    settings: Settings,
    sha256: str,
    index_folder: str | Path,
    uploads: str | Path,
    *,
    within: Callable[[Mapping], bool] = lambda place: True,
    encoder: Encoder | None = None,
) -> Ingested:
    """`rag.index.removal.remove_document` by the settings; `encoder` is one that is loaded already."""
    reading, making = _reading(settings), _making(settings, encoder)
    return remove_document(sha256, index_folder, uploads, reading, making, within=within)


def examine_index(settings: Settings, index_folder: str | Path) -> list[Finding]:
    """`rag.index.doctor.examine` with the encoder that the settings name."""
    use_store(settings, index_folder)
    return examine(index_folder, Lazy(lambda: make_encoder(settings, lazy=True)))


def _reading(settings: Settings) -> Reading:
    documents = settings.documents
    return Reading(
        max_file_mib=documents.max_file_mib,
        seconds_per_file=documents.max_seconds_per_file,
        ocr_languages=documents.ocr_languages,
        chunk_tokens=documents.chunk_tokens,
        overlap_tokens=documents.overlap_tokens,
        web=WebLimits(**settings.web.model_dump(exclude={"watch_minutes"})),
    )


def _making(settings: Settings, encoder: Encoder | None) -> Making:
    return Making(
        encoder=Lazy(lambda: encoder or make_encoder(settings, lazy=True)),
        encoder_model=settings.encoder.model,
        factory=settings.index.factory,
        window_sentences=settings.index.window_sentences,
        language=_named_language(settings),
        asking=_asking(settings),
    )


def _asking(settings: Settings, known: Sequence[Path] = ()) -> Asking:
    return Asking(settings.index.questions, question_generator(settings), tuple(known))


def _named_language(settings: Settings) -> str | None:
    """The language that the settings name; None where it is to be found."""
    return None if settings.index.language == "auto" else settings.index.language
