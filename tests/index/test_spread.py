"""Indexes whose blocks are encoded by others: in any order, into a folder and into a store, and gone on with."""

import functools

import numpy as np
import pytest

from rag.build import indexes
from rag.build.indexes import ingest_documents
from rag.index import encode, stored, update, write
from rag.index.read import open_index
from rag.index.write import build_index
from rag.retrieve.encoder import Encoder
from rag.retrieve.spread import BlockWorker, SpreadEncoder
from rag.store.note import StoreNote, write_note
from tests.fakes.documents import SETTINGS
from tests.fakes.spread import HereCluster

N_BLOCKS = 4


@pytest.fixture(params=["folder", "milvus"])
def index(request, tmp_path, monkeypatch):
    for module, name in ((encode, "SHARD_PASSAGES"), (write, "SHARD_PASSAGES"), (stored, "PASSAGES_AT_ONCE")):
        monkeypatch.setattr(module, name, 2)
    folder = tmp_path / "index"
    if request.param == "milvus":
        name = f"rag_spread_{tmp_path.name}"
        write_note(folder, StoreNote(name, str(tmp_path.parent / "shared.db"), timeout_seconds=300.0))
    return folder


def spread_over(cluster, folder):
    return SpreadEncoder(folder, cluster=cluster, make=functools.partial(Encoder, folder), lazy=True)


def vectors_of(index):
    opened = open_index(index)
    return dict(zip(opened.corpus.ids(), opened.vectors().vectors(range(len(opened.corpus))), strict=True))


def test_the_index_is_that_of_one_process(index, corpus_file, tiny_encoder_folder, tmp_path):
    build_index(corpus_file, tmp_path / "local", Encoder(tiny_encoder_folder))
    cluster = HereCluster()
    manifest = build_index(corpus_file, index, spread_over(cluster, tiny_encoder_folder))
    assert cluster.done == list(reversed(range(N_BLOCKS)))
    theirs, ours = vectors_of(tmp_path / "local"), vectors_of(index)
    assert theirs.keys() == ours.keys()
    assert min(float(np.dot(theirs[pid], ours[pid])) for pid in theirs) >= 0.99999
    assert manifest.passages_cut == open_index(tmp_path / "local").manifest.passages_cut


def test_a_killed_build_goes_on_with_the_blocks_that_are_left(index, corpus_file, tiny_encoder_folder):
    cluster = HereCluster(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        build_index(corpus_file, index, spread_over(cluster, tiny_encoder_folder))
    cluster.stop_after = None
    build_index(corpus_file, index, spread_over(cluster, tiny_encoder_folder))
    assert len(cluster.done) == N_BLOCKS
    assert len(vectors_of(index)) == 7


@pytest.mark.parametrize("least_passages", [1, 2000], ids=["as a segment", "as a whole"])
def test_an_ingest_is_shared_at_first_and_after_a_change(
    index, tiny_encoder_folder, tmp_path, monkeypatch, least_passages
):
    monkeypatch.setattr(update, "LEAST_PASSAGES", least_passages)
    notes = tmp_path / "notes"
    notes.mkdir()
    for n in range(16):
        (notes / f"{n:02d}.txt").write_text(f"Rule {n} is about the harbour of Tern Island.", "utf-8")
    plain, cluster = Encoder(tiny_encoder_folder), HereCluster()
    making = {index: spread_over(cluster, tiny_encoder_folder), tmp_path / "local": plain}

    def ingest(folder, paths):
        monkeypatch.setattr(indexes, "make_encoder", lambda settings, lazy: making[folder])
        ingest_documents(SETTINGS, paths, folder)

    for folder in making:
        ingest(folder, [notes])
    assert cluster.done == list(reversed(range(8)))
    cluster.done.clear()
    for n in (3, 4, 9):
        (notes / f"{n:02d}.txt").write_text(f"Rule {n} is another one by now.", "utf-8")
    for folder in making:
        ingest(folder, [])
    assert cluster.done == [1, 0]  # three passages: two blocks
    theirs, ours = vectors_of(tmp_path / "local"), vectors_of(index)
    assert theirs.keys() == ours.keys()
    assert len(ours) == 16
    assert min(float(np.dot(theirs[pid], ours[pid])) for pid in theirs) >= 0.99999


def test_one_block_alone_is_encoded_here(tiny_encoder_folder):
    cluster, counted = HereCluster(), []
    encoder = spread_over(cluster, tiny_encoder_folder)
    ((position, vectors, n_cut),) = encoder.encode_blocks([["a text", "another"]], counted.append)
    assert (position, vectors.shape[0], n_cut, cluster.done) == (0, 2, 0, [])
    assert sum(counted) == 2


def test_a_worker_with_another_model_is_refused(tiny_encoder_folder):
    wanted = Encoder(tiny_encoder_folder, lazy=True).fingerprint
    make = functools.partial(Encoder, tiny_encoder_folder, max_length_tokens=9, lazy=True)
    with pytest.raises(Exception, match=r"on the node .* encoder\.model is another model"):
        BlockWorker(make, wanted).start()
