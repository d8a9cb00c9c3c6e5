"""A tokenizer that was written down gives the tokens of the one that it was made from, without transformers."""

import shutil

import numpy as np
import pytest
from transformers import AutoTokenizer

from rag.compute.runner import BatchRunner
from rag.compute.tokenizer import FACTS, TOKENIZER, WrittenTokenizer, load_tokenizer
from rag.errors import ModelError

TEXTS = ["the river flows", "", "Größe 渡轮 & <b>", "the old tower in the north " * 30]
PAIRS = [("who built the tower", text) for text in TEXTS]


@pytest.fixture
def pair(tiny_reranker_folder, tmp_path):
    """The tokenizer that transformers loads, and the one that is read the second time."""
    theirs = load_tokenizer(tiny_reranker_folder, tmp_path)
    ours = load_tokenizer(tiny_reranker_folder, tmp_path)
    assert not isinstance(theirs, WrittenTokenizer)
    assert isinstance(ours, WrittenTokenizer)
    return theirs, ours


def runner(tokenizer, length):
    return BatchRunner(
        tokenizer,
        lambda: None,
        max_length_tokens=length,
        device="cpu",
        precision="fp32",
        cache_folder=None,
        lazy=True,
    )


@pytest.mark.parametrize("length", [8, 64])
@pytest.mark.parametrize("texts", [TEXTS, PAIRS, [("who " * 40, "the river")]])
def test_the_runner_gets_the_same_tokens(pair, texts, length):
    theirs, ours = (runner(tokenizer, length).tokenize(texts) for tokenizer in pair)
    assert ours.ids == theirs.ids
    assert ours.type_ids == theirs.type_ids
    assert np.array_equal(ours.was_cut, theirs.was_cut)


def test_tokens_are_counted_uncut_after_texts_were_cut(pair):
    theirs, ours = (runner(tokenizer, 8) for tokenizer in pair)
    for special in (False, True):
        ours.tokenize(TEXTS)
        assert ours.count_tokens(TEXTS, special=special) == theirs.count_tokens(TEXTS, special=special)


def test_what_the_runner_asks_of_it_is_the_same(pair):
    theirs, ours = pair
    assert ours.model_input_names == theirs.model_input_names
    assert ours.model_max_length == theirs.model_max_length == 64
    assert ours.pad_token_id == theirs.pad_token_id


def test_another_file_in_the_checkpoint_makes_it_anew(tiny_reranker_folder, tmp_path):
    folder = shutil.copytree(tiny_reranker_folder, tmp_path / "model")
    load_tokenizer(folder, tmp_path / "cache")
    settings = folder / "tokenizer_config.json"
    settings.write_text(
        settings.read_text("utf-8").replace('"model_max_length": 64', '"model_max_length": 32'), "utf-8"
    )
    assert not isinstance(load_tokenizer(folder, tmp_path / "cache"), WrittenTokenizer)
    assert load_tokenizer(folder, tmp_path / "cache").model_max_length == 32


@pytest.mark.parametrize("file", [FACTS, TOKENIZER])
def test_a_damaged_one_is_made_again(tiny_reranker_folder, tmp_path, file):
    load_tokenizer(tiny_reranker_folder, tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / file).write_text('{"half', "utf-8")
    with pytest.raises(ModelError, match="damaged"):
        WrittenTokenizer(folder)
    assert not isinstance(load_tokenizer(tiny_reranker_folder, tmp_path), WrittenTokenizer)
    assert isinstance(load_tokenizer(tiny_reranker_folder, tmp_path), WrittenTokenizer)


def test_without_a_cache_nothing_is_written(tiny_reranker_folder, tmp_path):
    assert type(load_tokenizer(tiny_reranker_folder, None)) is type(AutoTokenizer.from_pretrained(tiny_reranker_folder))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_its_tokenizer_is_refused(tiny_reranker_folder, tmp_path):
    """Transformers makes one of special tokens alone, which reads every word as unknown."""
    bare = tmp_path / "bare"
    shutil.copytree(tiny_reranker_folder, bare, ignore=shutil.ignore_patterns("tokenizer*", "vocab*", "special*"))
    with pytest.raises(ModelError, match="holds no tokenizer"):
        load_tokenizer(bare, tmp_path / "cache")
