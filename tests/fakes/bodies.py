"""Tiny random bodies of many kinds, and the heads that rankers have of them."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.tiny import bert_tokenizer, make_tiny_encoder, word_tokenizer

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 48}
NUMBERS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
CHAT = (
    "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen's own, it leaves out what other roles say."""


def make_body(folder: Path, kind: str, architecture: str, **extra) -> Path:
    """A checkpoint of random weights: `kind` is t5, t5gemma, modernbert, deberta, bart or qwen3, or e5 (an encoder)."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    if kind == "e5":
        return make_tiny_encoder(folder)
    size = (
        _words_of_a_chat(folder) if kind == "qwen3" else bert_tokenizer(folder, 64, with_types=False, eos_token="[SEP]")
    )
    config = {"t5": _t5, "t5gemma": _t5gemma, "modernbert": _modernbert, "deberta": _deberta, "bart": _bart}
    made = config.get(kind, _qwen3)(transformers, size, extra)
    getattr(transformers, architecture)(made).save_pretrained(folder)
    return folder


def _words_of_a_chat(folder: Path) -> int:
    from transformers import PreTrainedTokenizerFast

    tokenizer, size = word_tokenizer(["<|endoftext|>", "[UNK]", "<|im_start|>", "<|im_end|>", "yes", "no"], None)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        unk_token="[UNK]",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT,
        model_max_length=512,
    ).save_pretrained(folder)
    return size


def _t5(transformers, size, extra):
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
    return transformers.T5Config(vocab_size=size, decoder_start_token_id=0, **sizes, **NUMBERS, **extra)


def _t5gemma(transformers, size, extra):
    sizes = {"num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16, **SIZES}
    part = transformers.T5GemmaModuleConfig(vocab_size=size, max_position_embeddings=64, **sizes, **NUMBERS)
    is_whole = extra.pop("is_encoder_decoder", False)
    return transformers.T5GemmaConfig(
        encoder=part, decoder=part, vocab_size=size, is_encoder_decoder=is_whole, **NUMBERS, **extra
    )


def _modernbert(transformers, size, extra):
    tokens = {"cls_token_id": 2, "sep_token_id": 3, "max_position_embeddings": 64}
    return transformers.ModernBertConfig(vocab_size=size, **tokens, **SIZES, **NUMBERS, **extra)


def _deberta(transformers, size, extra):
    own = {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
    return transformers.DebertaV2Config(
        vocab_size=size, max_position_embeddings=64, pad_token_id=0, **own, **SIZES, **extra
    )


def _bart(transformers, size, extra):
    sizes = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    ffn = {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "d_model": 32, "decoder_start_token_id": 2}
    return transformers.BartConfig(vocab_size=size, max_position_embeddings=64, **sizes, **ffn, **NUMBERS, **extra)


def _qwen3(transformers, size, extra):
    own = {"num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 512, "initializer_range": 0.3}
    return transformers.Qwen3Config(vocab_size=size, **own, **SIZES, **{**NUMBERS, "bos_token_id": 0}, **extra)
