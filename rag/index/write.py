"""The index folder: passages, vectors, BM25, and a manifest that says what made them.

INDEX/CURRENT                     names the generation that serves, replaced atomically
INDEX/PREVIOUS                    names the one before it, which `roll_back` goes back to
INDEX/generation-…/manifest.json  corpus hash, passage count, encoder fingerprint, settings, format version
                  /passages.jsonl /vectors.faiss /bm25/
                  /windows.npy    for an index with windows: the passage of each vector behind the passages' own
                  /documents.jsonl /sources.json  the documents that the passages are of and what they were taken in
                                                  from, for an index of files
INDEX/building/                   finished shards of a build under way; a killed build goes on from them
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rag.data.corpus import EMBEDDED, corpus_file, load_corpus
from rag.data.passages import Corpus
from rag.errors import DataError
from rag.files import json_if_sound, write_json
from rag.index.encode import SHARD_PASSAGES, KnownVectors, encode_in_shards, with_windows
from rag.index.folder import BUILDING, read_current, serve_generation, switch_to, touch_source, twins_of, writer_lock
from rag.index.manifest import FORMAT_VERSION, MANIFEST, Manifest, manifest_json, read_if_sound, source_sha256
from rag.index.read import damage_of, write_documents
from rag.progress import say
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.encoder import Encoder
from rag.retrieve.vectors import FaissIndex


def build_index(
    corpus_path: str | Path,
    target: str | Path,
    encoder: Encoder,
    *,
    encoder_model: str = "",
    factory: str | None = None,
    window_sentences: int | None = None,
    hardware: str = "",
) -> Manifest:
    """Index a corpus file into `target`; returns the manifest.

    An unchanged corpus, encoder and setting is left as it is, unless a part of the index is missing or damaged. What
    was encoded before a kill, or stands in the generation that serves, is not encoded again. That generation stays
    until the new one is whole. Where `factory` or `window_sentences` is None, an index keeps its own; a new one is Flat
    and without windows.
    """
    corpus = load_corpus(corpus_path)
    with writer_lock(target):
        return build_generation(
            corpus,
            target,
            encoder,
            corpus_path=EMBEDDED if str(corpus_path) == EMBEDDED else str(corpus_file(corpus_path).resolve()),
            corpus_file_sha256=source_sha256(str(corpus_path)),
            encoder_model=encoder_model,
            factory=factory,
            window_sentences=window_sentences,
            hardware=hardware,
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
    hardware: str = "",
) -> Manifest:
    """`build_index` of passages at hand, for a caller who holds the `writer_lock`.

    `documents` describes the files that the passages are of, `sources` what they were taken in from; both are kept with
    them. `from_scratch` trusts nothing that is there. Raises DataError for two passages of one id.
    """
    started = time.monotonic()
    target = Path(target)
    if twice := next((pid for pid, n in Counter(p.id for p in corpus).items() if n > 1), None):
        raise DataError(f"two passages have the id {twice!r}")
    current = read_current(target)
    own = read_if_sound(current)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        corpus_path=corpus_path,
        corpus_file_sha256=corpus_file_sha256,
        corpus_sha256=corpus.sha256(),
        n_passages=len(corpus),
        passages_cut=0,
        encoder_model=encoder_model,
        encoder=encoder.fingerprint,
        factory=(own.factory if own else "Flat") if factory is None else factory,
        bm25={"k1": 1.5, "b": 0.75, "language": "english"},
        window_sentences=(own.window_sentences if own else 0) if window_sentences is None else window_sentences,
    )
    for generation in dict.fromkeys((current, *twins_of(target, manifest.fingerprint))):
        # One that does not serve is one that a kill kept from it, or that another switched away from.
        if from_scratch or generation is None or not generation.is_dir():
            continue
        existing = read_if_sound(generation)
        if existing is None or existing.fingerprint != manifest.fingerprint:
            continue
        if damage := damage_of(generation, existing):
            say(f"{generation} is damaged and is built again ({damage})")
            continue
        if generation != current:
            serve_generation(target, generation, previous=current)
        if documents is not None:
            write_documents(generation, documents, sources)
        return touch_source(generation, existing, manifest)
    if from_scratch:
        shutil.rmtree(target / BUILDING, ignore_errors=True)
    building = _prepare_building(target, manifest, current)
    known = KnownVectors(None if from_scratch else current, encoder.fingerprint)
    wholes = [passage.content for passage in corpus]
    reused = known.of_passages(wholes)
    vectors, passages_cut = encode_in_shards("passages", wholes, reused, encoder, building)
    if known.some_cut:
        passages_cut += encoder.count_cut([wholes[position] for position in reused])
    if manifest.window_sentences:
        vectors = with_windows(corpus, vectors, manifest.window_sentences, known, encoder, building)
    _write_generation(building, corpus, vectors, manifest)
    if documents is not None:
        write_documents(building, documents, sources)
    manifest = dataclasses.replace(
        manifest,
        passages_cut=passages_cut,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
        hardware=hardware,
    )
    write_json(building / MANIFEST, manifest_json(manifest))
    switch_to(target, building, manifest, previous=current)
    return manifest


def _prepare_building(target: Path, manifest: Manifest, current: Path | None) -> Path:
    """The folder of the build under way; shards of another corpus or encoder are thrown away."""
    building = target / BUILDING
    # Which passages are left to encode, and so what a shard holds, depends on the generation that serves.
    serving = current.name if current else ""
    key = {"fingerprint": manifest.fingerprint, "serving": serving, "shard_passages": SHARD_PASSAGES}
    key_file = building / "key.json"
    if json_if_sound(key_file) != key:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        write_json(key_file, key)
    return building


def _write_generation(building: Path, corpus: Corpus, vectors: np.ndarray, manifest: Manifest) -> None:
    index = FaissIndex(vectors.shape[1], manifest.factory)
    index.train(vectors)
    index.add(vectors)
    index.save(building / "vectors.faiss")
    BM25Retriever(corpus).save(building / "bm25")
    with (building / "passages.jsonl").open("w", encoding="utf-8") as stream:
        for passage in corpus:
            row = {"id": passage.id, "title": passage.title, "text": passage.text, "source": passage.source}
            if place := passage.place:  # not asdict, which takes longer than all the rest
                row["place"] = {"start": place.start, "end": place.end, "page": place.page}
            stream.write(json.dumps(row) + "\n")
