"""Tiny random models with real architectures and tokenizers, a few kilobytes each."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = [
    "the",
    "a",
    "of",
    "in",
    "on",
    "is",
    "was",
    "who",
    "what",
    "where",
    "when",
    "why",
    "how",
    "which",
    "river",
    "lake",
    "mountain",
    "city",
    "tower",
    "bridge",
    "king",
    "queen",
    "painter",
    "poem",
    "ship",
    "train",
    "bread",
    "yeast",
    "rises",
    "flows",
    "built",
    "designed",
    "painted",
    "wrote",
    "born",
    "died",
    "in",
    "north",
    "south",
    "east",
    "west",
    "old",
    "new",
    "red",
    "blue",
    "green",
    "clara",
    "voss",
    "amber",
    "line",
    "tern",
    "island",
    "graz",
    "port",
    "hale",
    "1874",
    "1931",
    "14",
    "km",
    "long",
    "people",
    "live",
    "there",
    "it",
    "and",
]


def word_tokenizer(special: list[str], template: str | None):
    """Whole words and single characters, lower-cased; a BERT-style template where one is given."""
    import string

    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = [*special, *dict.fromkeys(WORDS), *string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces += ["##" + ch for ch in string.ascii_lowercase + string.digits]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special[1]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if template:
        tokenizer.post_processor = processors.BertProcessing(
            ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
        )
    return tokenizer, len(vocabulary)


def bert_tokenizer(folder: Path, max_length: int, *, with_types: bool = True, **special: str) -> int:
    """Save a tokenizer as BERT's, with token types or without, and more special tokens; returns its size."""
    from transformers import PreTrainedTokenizerFast

    tokenizer, size = word_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "bert")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        model_input_names=["input_ids", *(["token_type_ids"] if with_types else []), "attention_mask"],
        **special,
    ).save_pretrained(folder)
    return size


def bert_config(size: int, **extra):
    from transformers import BertConfig

    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    return BertConfig(vocab_size=size, **{**shape, **extra})


def make_tiny_encoder(folder: Path, seed: int = 0, width: int = 32) -> Path:
    """A sentence-transformers checkpoint of random weights: `width` dimensions, 64 tokens, E5's prompts."""
    import torch
    from transformers import BertModel

    from rag.models.e5_folder import write_sentence_transformers_files

    torch.manual_seed(seed)
    size = bert_tokenizer(folder, 64)
    BertModel(bert_config(size, hidden_size=width)).save_pretrained(folder)
    write_sentence_transformers_files(folder, width, 64)
    return folder


def write_corpus(path: Path, passages) -> Path:
    rows = ({"id": p.id, "title": p.title, "text": p.text, "source": "made"} for p in passages)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
