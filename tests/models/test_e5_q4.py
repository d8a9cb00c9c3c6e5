"""The reader of the packaged E5: the format by hand-made files, the truth by published values."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from rag.errors import DamagedFileError
from rag.models.e5_folder import build_tokenizer, convert_e5_q4
from rag.models.e5_q4 import dequantize_q4_0, read_e5_q4
from tests.fakes.weights import FFN, HIDDEN, PIECES, POSITIONS, RULES, _tensors, write_e5

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text(encoding="utf-8"))["e5"]


def test_a_q4_block_by_hand():
    # scale 0.5; byte j holds value j in its low half and value j + 16 in its high half, each 8 above its number
    block = struct.pack("<e", 0.5) + bytes([0x08 | (0x9 << 4), 0x0F | (0x0 << 4), *[0x88] * 14])
    values = dequantize_q4_0(block, 32)
    assert values.dtype == np.float32
    assert values[[0, 1, 2]].tolist() == [0.0, 3.5, 0.0]
    assert values[[16, 17, 18]].tolist() == [0.5, -4.0, 0.0]


def test_a_whole_file_is_read(tmp_path):
    file = read_e5_q4(write_e5(tmp_path / "e5.bin"))
    assert (file.hidden, file.layers, file.ffn, file.positions) == (HIDDEN, 1, FFN, POSITIONS)
    assert file.pieces == PIECES
    assert file.normalization == RULES
    for name, values in _tensors().items():
        assert np.array_equal(file.tensors[name], values.ravel())


def test_the_converted_folder_embeds_unit_vectors(tmp_path):
    from sentence_transformers import SentenceTransformer

    convert_e5_q4(write_e5(tmp_path / "e5.bin"), tmp_path / "model")
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert model.prompts["query"] == "query: "
    assert np.allclose(np.linalg.norm(model.encode(["the a", "b b"]), axis=1), 1, atol=1e-5)


def test_the_tokenizer_wraps_collapses_spaces_and_maps_code_points(tmp_path):
    tokenizer = build_tokenizer(read_e5_q4(write_e5(tmp_path / "e5.bin")))
    assert tokenizer.encode("the").tokens == ["<s>", "▁the", "</s>"]
    assert tokenizer.encode("  a \u200b  b\x07 ").tokens == ["<s>", "▁", "a", "▁", "b", "</s>"]
    assert tokenizer.normalizer.normalize_str("½～ﬁ") == "1⁄2～fi"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"magic": b"E5S2"}, "not an E5S1"),
        ({"version": 2}, "version 2"),
        ({"block": 64}, "block size 64"),
        ({"cut": 6}, "truncated"),
        ({"cut": 40}, "truncated"),
        ({"cut": 200}, "truncated"),
        ({"cut": 900}, "truncated"),
        ({"cut": 5000}, "truncated"),
        ({"lie_about_bytes": 4}, "tensor emb.word"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, damage, message):
    with pytest.raises(DamagedFileError, match=message):
        read_e5_q4(write_e5(tmp_path / "e5.bin", **damage))


@pytest.mark.real
def test_the_real_weights_give_the_published_tokens_and_vectors():
    from rag.models.resolve import resolve
    from rag.retrieve.encoder import Encoder

    encoder = Encoder(
        resolve("intfloat/multilingual-e5-small", source="packages").folder, precision="fp32", device="cpu"
    )
    texts = EXPECTED["texts"]
    assert encoder._runner.tokenize(texts).ids == EXPECTED["input_ids"]
    prompt = {True: encoder.encode_queries, False: lambda t: encoder.encode_passages(t)[0]}
    for text, wanted in zip(texts, EXPECTED["embeddings"], strict=True):
        role, _, bare = text.partition(": ")
        vector = prompt[role == "query"]([bare])[0]
        assert vector @ np.array(wanted) / np.linalg.norm(wanted) >= 0.9999
