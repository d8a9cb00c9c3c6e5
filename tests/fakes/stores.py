"""Stores of a few passages, with vectors by the hash of each passage."""

import dataclasses
import itertools
import os

from rag.data.passages import Corpus
from rag.data.stored import digest
from rag.index.faiss_store import FaissStore
from rag.index.language import SHAPE
from rag.index.manifest import Manifest, manifest_json
from rag.retrieve.analyzer import VERSION
from rag.store.changing import MilvusStore
from rag.store.note import StoreNote, write_note
from rag.types import Passage
from tests.fakes.documents import WordEncoder

SERVER = "RAG_TEST_MILVUS"
"""The variable that names a real server, http://HOST:PORT, on which the same tests run, too."""
_numbers = itertools.count()

TEXTS = {
    "ferry@1": "The ferry leaves the old harbour at dawn.",
    "ferry@2": "Tickets for the ferry are sold at the harbour office, and the ferry is free for children.",
    "mill@1": "The mill grinds rye and wheat with two stones.",
    "mill@2": "Rye bread is baked beside the mill.",
    "owl@1": "An owl lives in the tower and hunts at night.",
    "c@1": "C++ and C# are languages; naïve cafés write them.",
}


class Encoder(WordEncoder):
    """As `WordEncoder`; it cuts nothing."""

    def count_cut(self, texts):
        return 0

    def _vectors(self, texts):
        return super()._vectors([text.encode("utf-8", "replace").decode() for text in texts])


def some_passages(texts=TEXTS):
    return [Passage(pid, text, pid.split("@")[0].title(), "notes.txt") for pid, text in texts.items()]


def vectors_of(passages, encoder=None):
    return (encoder or Encoder()).encode_passages([passage.content for passage in passages])[0]


def manifest_of(passages, encoder=None):
    """The manifest of these passages, as JSON."""
    corpus = Corpus(passages)
    made = Manifest(
        format_version=1,
        corpus_path="",
        corpus_file_sha256="",
        corpus_sha256=digest(corpus),
        n_passages=len(corpus),
        passages_cut=0,
        encoder_model="words",
        encoder=(encoder or Encoder()).fingerprint,
        factory="Flat",
        bm25={**SHAPE, "language": "english", "analyzer": VERSION},
    )
    return manifest_json(dataclasses.replace(made, created="2026-01-01"))


def open_faiss(folder):
    return FaissStore(folder)


def open_milvus(folder):
    """The store of a folder, in an embedded Milvus that all tests of the session share, or in the real server."""
    note = folder / "store.json"
    if not note.exists():
        uri = os.environ[SERVER] if folder.name.startswith("server") else str(folder.parent.parent / "shared.db")
        write_note(folder, StoreNote(name=f"rag_test_{os.getpid()}_{next(_numbers)}", uri=uri, timeout_seconds=300.0))
    from rag.index.stored import open_store

    store = open_store(folder, creates=True)
    assert isinstance(store, MilvusStore)
    return store


def fill(store, passages=None, *, anew=False, collections=None):
    """Let a store serve these passages and no others; returns them."""
    passages = some_passages() if passages is None else passages
    manifest = manifest_of(passages)
    with store.changing(manifest, anew=anew):
        there = {} if isinstance(store, FaissStore) else store.digests()
        store.delete([pid for pid in there if pid not in {p.id for p in passages}])
        if isinstance(store, FaissStore):
            store.delete(list(store._under_way))
        store.write(passages, vectors_of(passages), collections)
        store.finish(manifest)
    return passages
