"""Writing an index, so that a kill at any moment leaves the old one serving or the new one, whole.

INDEX/CURRENT                     names the generation that serves, replaced atomically
INDEX/PREVIOUS                    names the one before it, which `roll_back` goes back to
INDEX/generation-…/manifest.json  corpus hash, passage count, encoder fingerprint, settings, format version
                  /passages.jsonl /passages.npy /vectors.faiss /bm25/
                  /checked.json   hashes of files that have not changed since (`rag.index.checked`)
                  /windows.npy    for an index with windows: the passage of each vector behind the passages' own
                  /questions.jsonl
                                  for an index with questions: those about each passage (`rag.index.questions`)
                  /segments.json …
                                  for an index that was changed in small steps (`rag.index.segments`)
                  /documents.jsonl /sources.json
                                  for an index of documents: the documents, and the files and folders it follows
INDEX/building/                   finished shards of a build under way; a killed build goes on from them

What a kill leaves, by the moment that it comes:
- while encoding: `building/` with whole shards, from which the same command goes on;
- while writing the other parts: the same; these parts are quick to make, and are made again;
- behind the rename: a whole generation that does not serve yet; the same command only switches to it;
- behind the switch: the new index, and at most a folder too many, which the next switch deletes.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rag.data.corpus import EMBEDDED, corpus_source, load_corpus
from rag.data.passages import Corpus, refuse_equal_ids
from rag.data.stored import DIGEST, described, digest_of, lines_of, write_table
from rag.files import clear, json_if_sound, json_line, make_own_folder, room_for, write_json, write_whole
from rag.index.encode import SHARD_PASSAGES, KnownVectors, encode_in_shards, with_further_rows
from rag.index.folder import (
    BUILDING,
    known_generation,
    read_current,
    serve_generation,
    switch_to,
    touch_source,
    twins_of,
    writer_lock,
)
from rag.index.language import bm25_of
from rag.index.manifest import (
    FORMAT_VERSION,
    QUESTIONED_VERSION,
    SEGMENTED_VERSION,
    Manifest,
    read_if_sound,
    source_sha256,
)
from rag.index.parts import (
    BM25,
    DOCUMENTS,
    PASSAGES,
    QUESTIONS,
    SOURCES,
    TABLE,
    VECTORS,
    Parts,
    has_hashes,
    parts_of,
    replace_files,
    write_manifest,
)
from rag.index.questions import Asking, Beside, questions_beside
from rag.index.read import damage_of
from rag.index.segments import save_vectors
from rag.index.update import small_change, write_change
from rag.progress import say
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.encoder import Encoder
from rag.retrieve.vectors import FaissIndex
from rag.store.note import has_note


def build_index(
    corpus_path: str | Path,
    target: str | Path,
    encoder: Encoder,
    *,
    encoder_model: str = "",
    factory: str | None = None,
    window_sentences: int | None = None,
    language: str | None = None,
    hardware: str = "",
    asking: Asking = Asking(),
) -> Manifest:
    """Index a corpus file into `target`; returns the manifest.

    An unchanged corpus, encoder and setting is left as it is, unless a part of the index is missing or damaged. What
    was encoded before a kill, or stands in the generation that serves, is not encoded again. That generation stays
    until the new one is whole. Where `factory` or `window_sentences` is None, an index keeps its own; a new one is Flat
    and without windows. Where `language` is None, it is found (`rag.index.language`). `asking` says which questions are
    kept beside the passages.
    """
    corpus = load_corpus(corpus_path)
    with writer_lock(target):
        return build_generation(
            corpus,
            target,
            encoder,
            corpus_path=EMBEDDED if str(corpus_path) == EMBEDDED else corpus_source(corpus_path).resolved(),
            corpus_file_sha256=source_sha256(str(corpus_path)),
            encoder_model=encoder_model,
            factory=factory,
            window_sentences=window_sentences,
            language=language,
            hardware=hardware,
            asking=asking,
        )


def build_generation(
    corpus: Corpus,
    target: str | Path,
    encoder: Encoder,
    *,
    corpus_path: str = "",
    corpus_file_sha256: str = "",
    documents: Sequence[Mapping] | None = None,
    sources: Mapping | None = None,
    from_scratch: bool = False,
    encoder_model: str = "",
    factory: str | None = None,
    window_sentences: int | None = None,
    language: str | None = None,
    hardware: str = "",
    asking: Asking = Asking(),
) -> Manifest:
    """`build_index` of passages at hand, for a caller who holds the `writer_lock`.

    `documents` describes the files that the passages are of, `sources` what is followed (`read_sources`); both are kept
    with them. `from_scratch` trusts nothing that is there. Raises DataError for two passages of one id.
    """
    started = time.monotonic()
    target = Path(target)
    if has_note(target):
        from rag.index.stored import build_stored

        return build_stored(
            target,
            corpus,
            encoder,
            documents=documents,
            sources=sources,
            from_scratch=from_scratch,
            language=language,
            window_sentences=window_sentences,
            questions=asking.n,
            corpus_path=corpus_path,
            corpus_file_sha256=corpus_file_sha256,
            encoder_model=encoder_model,
            hardware=hardware,
        )
    lines, ids = lines_of(corpus)
    _refuse_equal_ids(corpus, ids)
    current = known_generation(target)
    own = read_if_sound(current)
    beside = questions_beside(corpus, target, current, own, asking)
    wanted = Manifest(
        format_version=QUESTIONED_VERSION if beside.n else FORMAT_VERSION,
        corpus_path=corpus_path,
        corpus_file_sha256=corpus_file_sha256,
        corpus_sha256=_hash_of(corpus, lines, own),
        n_passages=len(corpus),
        passages_cut=0,
        encoder_model=encoder_model,
        encoder=encoder.fingerprint,
        factory=(own.factory if own else "Flat") if factory is None else factory,
        bm25=bm25_of(corpus, own, language, from_scratch=from_scratch),
        window_sentences=(own.window_sentences if own else 0) if window_sentences is None else window_sentences,
        hardware=hardware,
        questions=beside.n,
        questions_sha256=beside.sha256,
    )
    if not from_scratch and (kept := _serve_what_is_there(target, current, wanted, documents, sources)):
        return kept
    with room_for(target, "the index stays as it was"):
        building = _prepare_building(target, wanted, current, from_scratch=from_scratch)
        change = None if from_scratch else small_change(corpus, lines, ids, current, wanted, own)
        linked = Parts()
        if change is not None:
            passages_cut, linked = write_change(building, change, encoder)
            wanted = dataclasses.replace(wanted, format_version=SEGMENTED_VERSION)
        else:
            vectors, passages_cut = _encode(
                corpus, encoder, building, wanted, beside, known_of=None if from_scratch else current
            )
            _write_parts(building, corpus, vectors, wanted, beside)
        if documents is not None:
            for name, content in _contents(documents, sources).items():
                write_whole(building / name, content)
        manifest = dataclasses.replace(
            wanted,
            passages_cut=passages_cut,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started, 1),
        )
        # Last of all files: without a manifest, nobody takes a folder for a generation.
        write_manifest(building, manifest, Parts({**linked.named, **parts_of(building, but=linked.named).named}))
        switch_to(target, building, manifest, previous=current)
    return manifest


def _hash_of(corpus: Corpus, lines: np.ndarray, own: Manifest | None) -> str:
    """What the manifest says of the passages; an index from before there were digests keeps the hash that it has."""
    if own is not None and not own.corpus_sha256.startswith(DIGEST) and own.corpus_sha256 == corpus.sha256():
        return own.corpus_sha256
    return digest_of(lines)


def _refuse_equal_ids(corpus: Corpus, ids: np.ndarray) -> None:
    ordered = np.sort(ids)
    if (ordered[1:] == ordered[:-1]).any():
        refuse_equal_ids(corpus.ids())


def _serve_what_is_there(
    target: Path,
    current: Path | None,
    wanted: Manifest,
    documents: Sequence[Mapping] | None,
    sources: Mapping | None,
) -> Manifest | None:
    """The manifest of a whole generation that is as wanted, once it serves; None where none is there.

    Beside the one that serves, it may be one that a kill kept from serving, or that another switched away from.
    """
    for generation in dict.fromkeys((current, *twins_of(target, wanted.fingerprint))):
        if generation is None or not generation.is_dir():
            continue
        existing = read_if_sound(generation)
        if existing is None or existing.fingerprint != wanted.fingerprint:
            continue
        if damage := damage_of(generation, existing):
            say(f"{generation} is damaged and is built again ({damage})")
            continue
        if not has_hashes(generation):
            write_manifest(generation, existing, parts_of(generation))
        if generation != read_current(target):
            serve_generation(target, generation, previous=current)
        # The passages are the same; the paths of their files may be others.
        if documents is not None:
            replace_files(generation, existing, _contents(documents, sources))
        return touch_source(generation, existing, wanted)
    return None


def _prepare_building(target: Path, wanted: Manifest, current: Path | None, *, from_scratch: bool) -> Path:
    """The folder of the build under way; shards of another corpus or encoder are thrown away."""
    building = target / BUILDING
    # Which passages are left to encode, and so what a shard holds, depends on the generation that serves.
    serving = current.name if current else ""
    key = {"fingerprint": wanted.fingerprint, "serving": serving, "shard_passages": SHARD_PASSAGES}
    key_file = building / "key.json"
    # Questions are of passages, whatever else is built: they stay.
    keeps = {building / QUESTIONS} if wanted.questions else set()
    if from_scratch or json_if_sound(key_file) != key:
        make_own_folder(building)
        for path in set(building.iterdir()) - keeps:
            clear(path)
        write_json(key_file, key)
    # What a killed build has written of the parts is written again. It may be linked from the generation that serves:
    # nothing may be written into it.
    for path in building.iterdir():
        if path != key_file and path not in keeps and not path.name.startswith("shard-"):
            clear(path)
    return building


def _encode(
    corpus: Corpus, encoder: Encoder, building: Path, wanted: Manifest, beside: Beside, *, known_of: Path | None
) -> tuple[np.ndarray, int]:
    """(vectors of the passages, then of their windows, then of their questions; how many passages were cut).

    `known_of` is the generation whose vectors are used again, where the same encoder made them.
    """
    known = KnownVectors(known_of, encoder.fingerprint)
    contents = [passage.content for passage in corpus]
    reused = known.of_passages(contents)
    vectors, passages_cut = encode_in_shards("passages", contents, reused, encoder, building)
    if known.some_cut:
        passages_cut += encoder.count_cut([contents[position] for position in reused])
    if wanted.window_sentences or beside.n:
        vectors = with_further_rows(corpus, vectors, wanted.window_sentences, beside, known, encoder, building)
    return vectors, passages_cut


def _write_parts(building: Path, corpus: Corpus, vectors: np.ndarray, wanted: Manifest, beside: Beside) -> None:
    """Vectors, BM25, passages with their table, and questions beside them."""
    if beside.n:
        write_whole(building / QUESTIONS, beside.content(corpus))
    index = FaissIndex(vectors.shape[1], wanted.factory)
    if len(vectors):
        index.train(vectors)
        index.add(vectors)
    save_vectors(index, building / VECTORS)
    if corpus:
        BM25Retriever(corpus, analyzer=wanted.analyzer, beside=beside.questions).save(building / BM25)
    write_table(building / TABLE, *described(corpus, path=building / PASSAGES))


def _contents(documents: Sequence[Mapping], sources: Mapping | None) -> dict[str, bytes]:
    """What a generation notes of the documents that its passages are of, and of what it follows (`read_sources`)."""
    followed = json.dumps(dict(sources or {"roots": [], "forgotten": []}), indent=2) + "\n"
    return {SOURCES: followed.encode(), DOCUMENTS: b"".join(json_line(row) for row in documents)}
