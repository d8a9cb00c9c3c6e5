"""An index whose passages are kept in Milvus: opened, built and brought up to date through its store.

Its folder holds a note of where they are (`rag.store.note`), and what an index folder holds besides: calibration,
parsed texts, web pages. A generation is named by a path in the folder that is never there.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.data.passages import Corpus, refuse_equal_ids
from rag.data.pieces import PartlyRead
from rag.data.stored import digest
from rag.documents.scan import FoundFile
from rag.errors import ConfigError, IndexMismatchError
from rag.index.language import bm25_of
from rag.index.manifest import FORMAT_VERSION, Manifest, manifest_json, manifest_of_json, source_is_there, source_sha256
from rag.index.stored_changes import difference, names_of
from rag.progress import progress, say
from rag.retrieve.encoder import Encoder
from rag.retrieve.spread import encode_blocks
from rag.store.changing import MilvusStore
from rag.store.note import read_note
from rag.store.rows import digest_of, sha256_of
from rag.types import Passage

GENERATION = "milvus-"
PASSAGES_AT_ONCE = 1024
OF_DOCUMENTS = "documents-"
"""How the hash of a corpus begins that is one of its documents."""
FACTORIES = {"FLAT": "Flat", "HNSW": "HNSW32", "IVF_FLAT": "IVF1024,Flat"}
"""The kinds of index that FAISS has, too, by the name that it gives them."""


def is_stored(generation: Path) -> bool:
    """Whether a generation is one of a store, and not a folder."""
    return generation.name.startswith(GENERATION)


def open_store(folder: str | Path, *, creates: bool = False) -> MilvusStore:
    """The store that an index folder's note names; an embedded one that is not there is made where this `creates`.

    Raises IndexMismatchError where it cannot be reached.
    """
    return MilvusStore(read_note(folder), Path(folder), creates=creates)


def stored_generation(folder: str | Path) -> Path | None:
    """The generation that serves in the store of an index folder; None where none does."""
    store = open_store(folder)
    return Path(folder) / f"{GENERATION}{store.generation}" if store.serves else None


def stored_manifest(generation: Path) -> Manifest:
    """The manifest of the generation that serves in a store. Raises IndexMismatchError where none does."""
    return manifest_of_store(open_store(generation.parent))


def manifest_of_store(store: MilvusStore) -> Manifest:
    """The manifest of what is open in a store. Raises IndexMismatchError where it is not readable."""
    stored = store.manifest
    if stored.get("format_version") != FORMAT_VERSION:
        raise IndexMismatchError(
            f"{store.generation} has index format {stored.get('format_version')}, this version reads {FORMAT_VERSION}"
        )
    try:
        return manifest_of_json(stored)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise IndexMismatchError(f"the manifest of {store.generation} is damaged ({error})") from error


def stored_sources(generation: Path) -> dict[str, Any]:
    """What an index in a store follows (`rag.index.read.read_sources`)."""
    return dict(open_store(generation.parent).beside.get("sources") or {"roots": [], "forgotten": []})


def stored_documents(generation: Path) -> list[dict]:
    """The documents of the generation that serves in a store; [] for one of a corpus file."""
    return open_store(generation.parent).documents()


def roll_back_stored(folder: Path) -> Manifest:
    """Let the generation before serve again. Raises IndexMismatchError where there is none."""
    store = open_store(folder)
    store.roll_back()
    manifest = manifest_of_store(store)
    if source_is_there(manifest):
        # Whoever goes back knows that the file holds other passages: its present state is taken as seen.
        seen = dataclasses.replace(manifest, corpus_file_sha256=source_sha256(manifest.corpus_path))
        return _came_from(store, manifest, seen)
    return manifest


def _came_from(store: MilvusStore, own: Manifest, wanted: Manifest) -> Manifest:
    """Remember the corpus file of `wanted`: the same passages may come from another file, or from one written anew."""
    updated = dataclasses.replace(own, corpus_path=wanted.corpus_path, corpus_file_sha256=wanted.corpus_file_sha256)
    if updated != own:
        store.amend(manifest_json(updated))
    return updated


def build_stored(
    folder: Path,
    corpus: Corpus,
    encoder: Encoder,
    *,
    documents: Sequence[Mapping] | None = None,
    sources: Mapping | None = None,
    from_scratch: bool = False,
    language: str | None = None,
    window_sentences: int | None = None,
    questions: int | None = None,
    **made_of: str,
) -> Manifest:
    """`rag.index.write.build_generation` into the store of a folder.

    Where encoder and language are those that serve, only what has changed is written. A killed build goes on by the
    passages that the store has already.
    """
    started = time.monotonic()
    if window_sentences:
        raise ConfigError("a Milvus store keeps no windows of passages; use --set index.window_sentences=0")
    if questions:
        raise ConfigError("a Milvus store keeps no questions beside passages; use --set index.questions=0")
    refuse_equal_ids(passage.id for passage in (corpus.fresh if isinstance(corpus, PartlyRead) else corpus))
    store = open_store(folder, creates=True)
    own = manifest_of_store(store) if store.serves else None
    made_of["corpus_sha256"] = _hash_of(corpus, documents or ())
    wanted = _wanted(store, corpus, encoder, own, language, from_scratch=from_scratch, made_of=made_of)
    beside = {"sources": dict(sources or {}), "documents": documents is not None}
    if own is not None and not from_scratch and _is_the_same(store, own, wanted, corpus, documents, beside):
        return _came_from(store, own, wanted)
    if not store.client.has_bm25:
        say(f"{store.client.without_words}: this index is searched with --set retriever.kind=dense alone")
    with store.changing(manifest_json(wanted), anew=from_scratch, goes_on=True):
        reuses = own is not None and own.encoder == wanted.encoder and not from_scratch
        cut = _write_changed(store, corpus, encoder, names_of(documents or ()), own if reuses else None)
        if documents is not None:
            store.write_documents(documents)
        manifest = dataclasses.replace(
            wanted,
            passages_cut=cut,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started, 1),
        )
        store.finish(manifest_json(manifest), beside)
    return manifest


def _wanted(
    store: MilvusStore,
    corpus: Corpus,
    encoder: Encoder,
    own: Manifest | None,
    language: str | None,
    *,
    from_scratch: bool,
    made_of: Mapping[str, str],
) -> Manifest:
    return Manifest(
        format_version=FORMAT_VERSION,
        corpus_path=made_of.get("corpus_path", ""),
        corpus_file_sha256=made_of.get("corpus_file_sha256", ""),
        corpus_sha256=made_of["corpus_sha256"],
        n_passages=len(corpus),
        passages_cut=0,
        encoder_model=made_of.get("encoder_model", ""),
        encoder=encoder.fingerprint,
        factory=FACTORIES.get(store.index_kind, store.index_kind),
        bm25=bm25_of(corpus, own, language, from_scratch=from_scratch),
        hardware=made_of.get("hardware", ""),
    )


def _hash_of(corpus: Corpus, documents: Sequence[Mapping]) -> str:
    """What tells a corpus from every other; one of documents by what they were made of: nothing of them is read."""
    if not documents or sum(row["n_passages"] for row in documents) != len(corpus):
        return digest(corpus)
    parts = ("sha256", "n_passages", "n_characters", "title", "chunking", "ocr")
    of_documents = [[FoundFile(**row["paths"][0]).shown_path, *(row[part] for part in parts)] for row in documents]
    described = sorted(json.dumps(one, sort_keys=True) for one in of_documents)
    return OF_DOCUMENTS + sha256_of("\n".join(described))[len(OF_DOCUMENTS) :]


def _is_the_same(
    store: MilvusStore,
    own: Manifest,
    wanted: Manifest,
    corpus: Corpus,
    documents: Sequence[Mapping] | None,
    beside: Mapping,
) -> bool:
    """Whether what serves is what is wanted, and whole."""
    if own.fingerprint != wanted.fingerprint or dict(store.beside) != beside:
        return False
    # Documents that were split again may have other passages, although they are described as before.
    if wanted.corpus_sha256.startswith(OF_DOCUMENTS) and not (isinstance(corpus, PartlyRead) and not corpus.fresh):
        return False
    store.check()
    return documents is None or _digests(store.documents()) == _digests(documents)


def _digests(records: Sequence[Mapping]) -> set[str]:
    return {sha256_of(json.dumps(record, sort_keys=True)) for record in records}


def _write_changed(
    store: MilvusStore, corpus: Corpus, encoder: Encoder, names: Mapping[str, Sequence[str]], own: Manifest | None
) -> int:
    """Write what the store lacks, take out what is gone; returns how many passages were cut.

    `own` is the manifest of what serves, where its vectors are used again.
    """
    found = difference(store, corpus, encoder, names, own)
    store.delete(found.gone)
    written = store.written_of({p.id: digest_of(p, names.get(p.document, ())) for p in found.left})
    left = [passage for passage in found.left if passage.id not in written]
    left.sort(key=lambda passage: -len(passage.content))  # texts of similar length are encoded together
    cut = found.cut + encoder.count_cut([passage.content for passage in found.left if passage.id in written])
    if not left:
        return cut
    with progress("Encoding", len(corpus), "passages", already_done=len(corpus) - len(left)) as bar:

        def advance(n: int) -> None:
            bar.advance(n)
            store.keep()  # encoding takes longer than a lease

        blocks = [left[i : i + PASSAGES_AT_ONCE] for i in range(0, len(left), PASSAGES_AT_ONCE)]
        known: dict[int, dict[str, np.ndarray]] = {}

        def unknown() -> Iterator[list[str]]:
            """The contents of each block that the store has no vectors of."""
            for number, some in enumerate(blocks):
                hashes = [sha256_of(passage.content) for passage in some]
                known[number] = store.vectors_of_contents(hashes) if own is not None else {}
                yield [p.content for p, key in zip(some, hashes, strict=True) if key not in known[number]]

        for number, encoded, n_cut in encode_blocks(encoder, unknown(), advance):
            store.write(blocks[number], _joined(blocks[number], known[number], encoded), names)
            cut += n_cut
            if reused := known.pop(number):
                again = [passage.content for passage in blocks[number] if sha256_of(passage.content) in reused]
                cut += encoder.count_cut(again)
                advance(len(again))
    return cut


def _joined(passages: Sequence[Passage], known: Mapping[str, np.ndarray], encoded: np.ndarray) -> np.ndarray:
    """(n, d) float32: the vectors of passages, of which those whose content is not `known` were encoded, in order."""
    made = iter(encoded)
    keys = [sha256_of(passage.content) for passage in passages]
    return np.array([known[key] if key in known else next(made) for key in keys], np.float32)
