"""The index folder: what made it is known, a mismatch is refused, a killed build goes on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rag.files
from rag.errors import ConfigError, DataError, IndexMismatchError
from rag.index import encode, folder
from rag.index.folder import roll_back
from rag.index.read import open_index
from rag.index.write import build_index
from rag.retrieve.encoder import Encoder
from rag.types import Passage
from tests.fakes.tiny import make_tiny_encoder, write_corpus


@pytest.fixture(scope="module")
def encoder(tiny_encoder_folder):
    return Encoder(tiny_encoder_folder, device="cpu", precision="fp32")


def test_an_index_opens_with_its_passages_and_vectors(corpus_file, tmp_path, encoder, passages):
    manifest = build_index(corpus_file, tmp_path / "index", encoder)
    opened = open_index(tmp_path / "index")
    opened.check_encoder(encoder.fingerprint)
    assert [p.id for p in opened.corpus] == [p.id for p in passages]
    assert manifest.n_passages == len(passages)
    assert manifest.passages_cut == 1
    vectors, _ = encoder.encode_passages([p.content for p in opened.corpus])
    scores, rows = opened.vectors().search(vectors, 1)
    assert rows[:, 0].tolist() == list(range(len(passages)))
    assert np.allclose(scores, 1, atol=1e-4)


def test_building_again_encodes_nothing(corpus_file, tmp_path, encoder, monkeypatch):
    build_index(corpus_file, tmp_path / "index", encoder)
    monkeypatch.setattr(Encoder, "encode_passages", lambda *a, **k: pytest.fail("encoded again"))
    build_index(corpus_file, tmp_path / "index", encoder)


def test_a_changed_corpus_is_refused_with_the_command_that_fixes_it(corpus_file, tmp_path, encoder, passages):
    build_index(corpus_file, tmp_path / "index", encoder)
    write_corpus(corpus_file, passages[:-1])
    with pytest.raises(IndexMismatchError, match=r"7 passages.*now 6.*rag index .*corpus.txt -o"):
        open_index(tmp_path / "index")
    build_index(corpus_file, tmp_path / "index", encoder)
    assert len(open_index(tmp_path / "index").corpus) == 6


def test_another_encoder_is_refused_with_the_command_that_fixes_it(corpus_file, tmp_path, encoder, tmp_path_factory):
    build_index(corpus_file, tmp_path / "index", encoder)
    other = Encoder(make_tiny_encoder(tmp_path_factory.mktemp("other"), seed=9), device="cpu", precision="fp32")
    with pytest.raises(IndexMismatchError, match=r"another encoder \(weights_sha256.*rag index"):
        open_index(tmp_path / "index").check_encoder(other.fingerprint)


def test_another_length_is_another_encoder(corpus_file, tmp_path, encoder, tiny_encoder_folder):
    build_index(corpus_file, tmp_path / "index", encoder)
    shorter = Encoder(tiny_encoder_folder, max_length_tokens=32, device="cpu", precision="fp32")
    with pytest.raises(IndexMismatchError, match="max_length_tokens: 64 in the index, 32 now"):
        open_index(tmp_path / "index").check_encoder(shorter.fingerprint)


def test_a_missing_index_names_the_command(tmp_path):
    with pytest.raises(IndexMismatchError, match="rag index CORPUS -o"):
        open_index(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["manifest.json", "vectors.faiss", "passages.jsonl"])
def test_a_damaged_index_is_refused(corpus_file, tmp_path, encoder, name):
    build_index(corpus_file, tmp_path / "index", encoder)
    generation = next((tmp_path / "index").glob("generation-*"))
    content = (generation / name).read_bytes()
    (generation / name).write_bytes(content[: len(content) // 2])
    with pytest.raises((IndexMismatchError, DataError)):
        open_index(tmp_path / "index").vectors()
    build_index(corpus_file, tmp_path / "index", encoder)  # the command that the message names
    assert len(open_index(tmp_path / "index").vectors()) == 7


def test_passages_that_stay_are_not_encoded_again_and_those_cut_still_counted(
    corpus_file, tmp_path, encoder, passages, monkeypatch
):
    build_index(corpus_file, tmp_path / "index", encoder)
    monkeypatch.setattr(Encoder, "encode_passages", lambda *a, **k: pytest.fail("encoded again"))
    write_corpus(corpus_file, passages[2:])
    assert build_index(corpus_file, tmp_path / "index", encoder).passages_cut == 1
    write_corpus(corpus_file, passages[2:-1])
    assert build_index(corpus_file, tmp_path / "index", encoder).passages_cut == 0


def test_damaged_bm25_is_built_again_and_nothing_encoded(corpus_file, tmp_path, encoder, monkeypatch):
    build_index(corpus_file, tmp_path / "index", encoder)
    shutil.rmtree(next((tmp_path / "index").glob("generation-*")) / "bm25")
    monkeypatch.setattr(Encoder, "encode_passages", lambda *a, **k: pytest.fail("encoded again"))
    build_index(corpus_file, tmp_path / "index", encoder)
    assert open_index(tmp_path / "index").bm25().retrieve(["passage"], 1)


def test_rolled_back_the_passages_before_serve_until_their_file_changes_again(corpus_file, tmp_path, encoder, passages):
    build_index(corpus_file, tmp_path / "index", encoder)
    write_corpus(corpus_file, passages[:3])
    build_index(corpus_file, tmp_path / "index", encoder)
    roll_back(tmp_path / "index")
    assert len(open_index(tmp_path / "index").corpus) == 7
    write_corpus(corpus_file, passages[:2])
    with pytest.raises(IndexMismatchError, match=r"7 passages.*now 2"):
        open_index(tmp_path / "index")
    write_corpus(corpus_file, passages[:3])
    roll_back(tmp_path / "index")
    assert len(open_index(tmp_path / "index").corpus) == 3


@pytest.mark.parametrize("fails", ["rename", "replace"])
def test_what_serves_is_not_touched_before_its_better_copy_serves(corpus_file, tmp_path, encoder, monkeypatch, fails):
    build_index(corpus_file, tmp_path / "index", encoder)
    shutil.rmtree(next((tmp_path / "index").glob("generation-*")) / "bm25")

    def killed(source, target):
        if fails == "rename" or Path(target).name == "CURRENT":
            raise KeyboardInterrupt
        return replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, fails, killed)
        with pytest.raises(KeyboardInterrupt):
            build_index(corpus_file, tmp_path / "index", encoder)
    assert len(open_index(tmp_path / "index").vectors()) == 7
    build_index(corpus_file, tmp_path / "index", encoder)
    assert open_index(tmp_path / "index").bm25()
    assert len(list((tmp_path / "index").glob("generation-*"))) == 1


def test_a_copy_that_takes_its_place_leaves_the_way_back(corpus_file, tmp_path, encoder, passages, monkeypatch):
    build_index(corpus_file, tmp_path / "index", encoder)
    write_corpus(corpus_file, passages[:3])
    build_index(corpus_file, tmp_path / "index", encoder)
    for _ in range(2):
        shutil.rmtree(open_index(tmp_path / "index").folder / "bm25")
        build_index(corpus_file, tmp_path / "index", encoder)
        assert len(list((tmp_path / "index").glob("generation-*"))) == 2
    monkeypatch.setattr(Encoder, "encode_passages", lambda *a, **k: pytest.fail("encoded again"))
    build_index(corpus_file, tmp_path / "index", encoder)
    assert len(open_index(tmp_path / "index").corpus) == 3
    assert roll_back(tmp_path / "index").n_passages == 7


def test_a_copy_is_no_state_to_go_back_to(corpus_file, tmp_path, encoder):
    build_index(corpus_file, tmp_path / "index", encoder)
    pointers = tmp_path / "index" / "CURRENT", tmp_path / "index" / "PREVIOUS"
    pointers[1].write_text(pointers[0].read_text())  # as a kill between the writes of a switch leaves them
    shutil.rmtree(open_index(tmp_path / "index").folder / "bm25")
    build_index(corpus_file, tmp_path / "index", encoder)
    assert not pointers[1].exists()
    with pytest.raises(IndexMismatchError, match="no generation to go back to"):
        roll_back(tmp_path / "index")
    assert open_index(tmp_path / "index").bm25()


def test_a_build_is_on_the_disk_before_it_serves(corpus_file, tmp_path, encoder, monkeypatch):
    events = []
    for module in (folder, rag.files):
        monkeypatch.setattr(module, "wait_for_disk", lambda path: events.append(str(path)))
    for name in ("rename", "replace"):
        move = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda source, target, move=move: events.append(f"to {target}") or move(source, target)
        )
    build_index(corpus_file, tmp_path / "index", encoder)
    index = tmp_path / "index"
    (generation,) = index.glob("generation-*")
    built = [str(index / "building" / path.relative_to(generation)) for path in generation.rglob("*")]
    assert {*built, str(index / "building")} <= set(events[: events.index(f"to {generation}")])
    assert events[-3:] == [str(index / "CURRENT.tmp"), f"to {index / 'CURRENT'}", str(index)]


def test_an_edited_manifest_is_refused(corpus_file, tmp_path, encoder):
    build_index(corpus_file, tmp_path / "index", encoder)
    path = next((tmp_path / "index").glob("generation-*")) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["factory"] = "HNSW32"
    path.write_text(json.dumps(manifest))
    with pytest.raises(IndexMismatchError, match="fingerprint"):
        open_index(tmp_path / "index")


def test_a_folder_with_other_files_is_not_written_to(corpus_file, tmp_path, encoder):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="no index"):
        build_index(corpus_file, tmp_path / "holiday", encoder)


def test_a_bad_corpus_leaves_nothing_behind(tmp_path, encoder):
    (tmp_path / "corpus.txt").write_text('{"id": "1", "text": "fine"}\n{"id": "1", "text": "again"}\n')
    with pytest.raises(DataError, match="line 2"):
        build_index(tmp_path / "corpus.txt", tmp_path / "index", encoder)
    assert not (tmp_path / "index").exists()


def test_the_old_index_serves_until_the_new_one_is_whole(corpus_file, tmp_path, encoder, passages, monkeypatch):
    build_index(corpus_file, tmp_path / "index", encoder)
    other = write_corpus(tmp_path / "other.txt", [*passages[:2], Passage("doc_9@0", "It rains.")])
    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode_passages", _fail)
        with pytest.raises(RuntimeError):
            build_index(other, tmp_path / "index", encoder)
    assert len(open_index(tmp_path / "index").corpus) == len(passages)
    build_index(other, tmp_path / "index", encoder)
    assert len(open_index(tmp_path / "index").corpus) == 3


def test_a_stopped_build_goes_on_from_its_finished_shards(corpus_file, tmp_path, encoder, monkeypatch, passages):
    monkeypatch.setattr(encode, "SHARD_PASSAGES", 2)
    encode_passages, seen = Encoder.encode_passages, []

    def stop_at_the_third(self, texts, **kwargs):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(texts))
        return encode_passages(self, texts, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode_passages", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            build_index(corpus_file, tmp_path / "index", encoder)
    counted = []
    monkeypatch.setattr(
        Encoder,
        "encode_passages",
        lambda self, texts, **k: counted.append(len(texts)) or encode_passages(self, texts, **k),
    )
    build_index(corpus_file, tmp_path / "index", encoder)
    assert sum(counted) == len(passages) - 4
    whole, _ = encode_passages(encoder, [p.content for p in passages])
    scores, _ = open_index(tmp_path / "index").vectors().search(whole, 1)
    assert np.allclose(scores, 1, atol=1e-4)


KILLED = """
import os, signal, sys, time
import faiss, openvino  # here and not in each process
from rag.index import encode, write
from rag.retrieve.encoder import Encoder
model, corpus, index, compiled, *waits = sys.argv[1:]
encode.SHARD_PASSAGES = 1
encode_passages = Encoder.encode_passages
def slow(self, texts, **kwargs):
    time.sleep(0.05)
    return encode_passages(self, texts, **kwargs)
Encoder.encode_passages = slow

def start():
    # A process that builds the index; returns when its encoder is loaded.
    ready, loaded = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            encoder = Encoder(model, device="cpu", precision="fp32", cache_root=compiled)
            os.write(loaded, b".")
            write.build_index(corpus, index, encoder, window_sentences=1)
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    os.close(loaded)
    assert os.read(ready, 1) == b"."
    os.close(ready)
    return child

for wait in map(float, waits):
    child = start()
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
assert os.waitpid(start(), 0)[1] == 0
"""


def test_kill_9_at_any_moment_leaves_a_build_that_finishes(corpus_file, tmp_path, encoder, tiny_encoder_folder):
    command = [sys.executable, "-c", KILLED, tiny_encoder_folder, corpus_file, tmp_path / "index"]
    command += [tmp_path / "compiled", "0.03", "0.12", "0.2"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    assert len(open_index(tmp_path / "index").vectors()) == 7 + 2  # one passage has two sentences


def test_an_unknown_factory_names_examples(corpus_file, tmp_path, encoder):
    with pytest.raises(ConfigError, match="Flat, HNSW32"):
        build_index(corpus_file, tmp_path / "index", encoder, factory="Nonsense")


def test_too_few_passages_for_ivf_say_what_to_do(corpus_file, tmp_path, encoder):
    with pytest.raises(ConfigError, match=r"index\.factory=Flat"):
        build_index(corpus_file, tmp_path / "index", encoder, factory="IVF64,Flat")


@pytest.mark.parametrize("factory", ["HNSW8", "IVF2,Flat"])
def test_approximate_indexes_find_the_same_nearest_passage(corpus_file, tmp_path, encoder, factory):
    build_index(corpus_file, tmp_path / "index", encoder, factory=factory)
    opened = open_index(tmp_path / "index")
    vectors, _ = encoder.encode_passages([p.content for p in opened.corpus])
    _, rows = opened.vectors().search(vectors, 1)
    assert rows[:, 0].tolist() == list(range(len(opened.corpus)))
    assert np.allclose(opened.vectors().vectors(rows[:, 0]), vectors, atol=1e-5)


def test_the_embedded_corpus_can_be_indexed_and_checked(tmp_path, encoder, monkeypatch):
    manifest = build_index("embedded", tmp_path / "index", encoder)
    assert manifest.n_passages > 500
    open_index(tmp_path / "index").check_encoder(encoder.fingerprint)


def _fail(*args, **kwargs):
    raise RuntimeError("stopped")
