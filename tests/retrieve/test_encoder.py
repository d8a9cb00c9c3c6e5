import json
import shutil

import numpy as np
import pytest
import torch

from rag.compute.runner import pack_by_length
from rag.errors import ConfigError, ModelError
from rag.retrieve.encoder import Encoder

TEXTS = ["the amber line", "why does bread rise when the yeast is old", "tern island", "who painted the red bridge"]


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """Conversion is the slow part: tests share what is compiled from the same weights."""
    global CACHE
    CACHE = tmp_path_factory.mktemp("compiled")


def make(folder, precision="fp32", **options):
    return Encoder(folder, device="cpu", precision=precision, **{"cache_root": CACHE, **options})


def test_vectors_equal_sentence_transformers(tiny_encoder_folder):
    from sentence_transformers import SentenceTransformer

    ours, _ = make(tiny_encoder_folder).encode_passages(TEXTS)
    theirs = SentenceTransformer(str(tiny_encoder_folder), device="cpu").encode(TEXTS, prompt_name="passage")
    assert np.allclose(ours, theirs, atol=1e-5)


def test_the_checkpoints_own_prompts_are_used(tiny_encoder_folder):
    encoder = make(tiny_encoder_folder)
    query = encoder.encode_queries(TEXTS[:1])[0]
    passage = encoder.encode_passages(TEXTS[:1])[0][0]
    assert not np.allclose(query, passage, atol=1e-3)
    assert encoder.fingerprint.query_prompt == "query: "


def test_the_order_of_the_input_is_kept(tiny_encoder_folder):
    encoder = make(tiny_encoder_folder)
    together = encoder.encode_queries(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.allclose(encoder.encode_queries([text])[0], vector, atol=1e-5)


def test_passages_that_are_cut_are_counted(tiny_encoder_folder):
    _, cut = make(tiny_encoder_folder).encode_passages(["the river " * 200, "the river"])
    assert cut == 1


def test_a_cached_graph_gives_the_same_vectors(tiny_encoder_folder, tmp_path):
    first = make(tiny_encoder_folder, cache_root=tmp_path).encode_queries(TEXTS)
    assert list(tmp_path.rglob("graph.xml"))
    again = make(tiny_encoder_folder, cache_root=tmp_path).encode_queries(TEXTS)
    assert np.allclose(first, again, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precision_stays_close(tiny_encoder_folder, precision):
    exact = make(tiny_encoder_folder).encode_queries(TEXTS)
    close = make(tiny_encoder_folder, precision).encode_queries(TEXTS)
    assert np.einsum("nd,nd->n", exact, close).min() > 0.99


def test_a_checkpoint_without_prompts_takes_those_named_or_none(tiny_encoder_folder, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(tiny_encoder_folder, folder)
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    config["prompts"] = {}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    assert set(make(folder, lazy=True).prompts.values()) == {""}
    named = make(folder, prompts={"query": "query: ", "passage": "passage: "})
    assert np.allclose(named.encode_queries(TEXTS), make(tiny_encoder_folder).encode_queries(TEXTS), atol=1e-6)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"modules\.json"):
        make(tmp_path)


def test_an_unknown_precision_is_refused(tiny_encoder_folder):
    with pytest.raises(ConfigError, match="fp16"):
        Encoder(tiny_encoder_folder, device="cpu", precision="fp16")


def test_lone_surrogates_do_not_break_encoding(tiny_encoder_folder):
    assert make(tiny_encoder_folder).encode_queries(["broken \ud800 text"]).shape == (1, 32)


def test_batches_hold_every_row_once_within_the_budget():
    lengths = np.array([5, 900, 30, 30, 1, 512, 64])
    batches = list(pack_by_length(lengths, 512))
    assert sorted(int(row) for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= 512


def test_batches_are_not_filled_with_padding_where_it_counts_as_text():
    lengths = np.array([100, 200, 84, 85, 170, 169, 30, 14, 1])
    packed = [lengths[rows].tolist() for rows in pack_by_length(lengths, 2048, 0.85)]
    # 169 is less than 85 % of 200; 30, 14: as few tokens shorter as cost less than a batch of their own.
    assert packed == [[200, 170], [169], [100, 85, 84], [30, 14], [1]]
    assert [len(rows) for rows in pack_by_length(lengths, 2048)] == [9]
    assert [len(rows) for rows in pack_by_length(np.array([50] * 9), 100, 0.85)] == [2, 2, 2, 2, 1]


def test_a_batch_that_memory_does_not_hold_is_halved(tiny_encoder_folder, monkeypatch):
    encoder = make(tiny_encoder_folder)
    whole = encoder.encode_queries(TEXTS)
    forward, sizes = encoder._runner._loaded, []

    def small_memory(ids, *rest):
        sizes.append(len(ids))
        if len(ids) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(ids, *rest)

    monkeypatch.setattr(encoder._runner, "_loaded", small_memory)
    assert np.allclose(encoder.encode_queries(TEXTS), whole, atol=1e-5)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


@pytest.mark.parametrize("allocate", [np.empty, torch.empty])
def test_a_text_that_memory_does_not_hold_is_a_sentence(tiny_encoder_folder, monkeypatch, allocate):
    encoder = make(tiny_encoder_folder)

    def no_memory(*arrays):
        return allocate(10**15)

    monkeypatch.setattr(encoder._runner, "_loaded", no_memory)
    with pytest.raises(ModelError, match=r"out of memory on cpu at one text of \d+ tokens"):
        encoder.encode_queries(TEXTS)


def test_another_failure_is_not_taken_for_a_lack_of_memory(tiny_encoder_folder, monkeypatch):
    encoder = make(tiny_encoder_folder)

    def broken(*arrays):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(encoder._runner, "_loaded", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        encoder.encode_queries(TEXTS)
