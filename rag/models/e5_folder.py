"""The packaged E5 as a folder that sentence-transformers loads: weights, tokenizer, pooling and prompts."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.errors import DamagedFileError
from rag.files import write_json
from rag.models.e5_q4 import E5File, read_e5_q4

if TYPE_CHECKING:
    from tokenizers import Tokenizer

METASPACE = "▁"
# The one common character that NFKC changes and the file does not. It passes NFKC as a private-use code point.
FULLWIDTH_TILDE = "～"
PRIVATE_USE = "\uf8ff"
QUERY_PROMPT = "query: "
PASSAGE_PROMPT = "passage: "


def convert_e5_q4(source: Path, target: Path) -> None:
    """Write a sentence-transformers folder (float32, mean pooling, unit length, the E5 prompts) into `target`.

    Raises DamagedFileError where `source` is not such a file, or lacks a tensor.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, PreTrainedTokenizerFast

    file = read_e5_q4(source)
    target.mkdir(parents=True, exist_ok=True)
    # The weights.
    try:
        state = {name: torch.from_numpy(np.array(value)) for name, value in _state_dict(file).items()}
    except (KeyError, ValueError) as error:
        raise DamagedFileError(f"{source} lacks a tensor, or one has the wrong size: {error}") from error
    save_file(state, str(target / "model.safetensors"), metadata={"format": "pt"})
    # The sizes.
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
    # The tokenizer.
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


def _state_dict(file: E5File) -> dict[str, np.ndarray]:
    """The tensors under BertModel's names and shapes. The file has no pooler; zeros stand in, and are never used."""
    h = file.hidden
    ffn = file.ffn
    state = {
        "embeddings.word_embeddings.weight": file.tensors["emb.word"].reshape(file.vocab, h),
        "embeddings.position_embeddings.weight": file.tensors["emb.pos"].reshape(file.positions, h),
        "embeddings.token_type_embeddings.weight": file.tensors["emb.type"].reshape(file.types, h),
        "embeddings.LayerNorm.weight": file.tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": file.tensors["emb.ln.b"],
        "pooler.dense.weight": np.zeros((h, h), np.float32),
        "pooler.dense.bias": np.zeros(h, np.float32),
    }
    # The file's short name of a layer's part -> BertModel's name (and shape).
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


def build_tokenizer(file: E5File) -> Tokenizer:
    """The file's Unigram tokenizer.

    The file has 4,837 rules for single code points. They are NFKC except for code points that they delete, turn into a
    space, or leave alone. As thousands of replacements they would cost 13 ms per passage; NFKC with the few exceptions
    costs microseconds. The file left out rules over several code points: NFC and strip stand in for them.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    bos = file.special["bos"]
    eos = file.special["eos"]
    vocabulary = [(piece, float(score)) for piece, score in zip(file.pieces, file.scores, strict=True)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=file.special["unk"]))
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
    begin = file.pieces[bos]
    end = file.pieces[eos]
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
        write_json(target / name, content)
