"""Tiny random models, made once per session: real architectures and tokenizers, a few kilobytes each."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

import pytest

from rag.types import Passage

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

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def _word_tokenizer(special: list[str], template: str | None):
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


def _bert_tokenizer(folder: Path, max_length: int) -> int:
    from transformers import PreTrainedTokenizerFast

    tokenizer, size = _word_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "bert")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    return size


def _bert_config(size: int, **extra):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        **extra,
    )


def make_tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """A sentence-transformers checkpoint of random weights: 32 dimensions, 64 tokens, E5's prompts."""
    import torch
    from transformers import BertModel

    from rag.models.e5_q4 import write_sentence_transformers_files

    torch.manual_seed(seed)
    size = _bert_tokenizer(folder, 64)
    BertModel(_bert_config(size)).save_pretrained(folder)
    write_sentence_transformers_files(folder, 32, 64)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def tiny_reranker_folder(tmp_path_factory) -> Path:
    """A one-label BERT of random weights."""
    import torch
    from transformers import BertForSequenceClassification

    folder = tmp_path_factory.mktemp("reranker")
    torch.manual_seed(1)
    size = _bert_tokenizer(folder, 64)
    BertForSequenceClassification(_bert_config(size, num_labels=1)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_generator_folder(tmp_path_factory) -> Path:
    """A Qwen2 of random weights, its heads the smallest that vLLM takes, its template knowing `enable_thinking`."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("generator")
    torch.manual_seed(2)
    special = ["<|endoftext|>", "[UNK]", "<|im_start|>", "<|im_end|>"]
    tokenizer, size = _word_tokenizer(special, None)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        unk_token="[UNK]",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        eos_token_id=3,
        pad_token_id=0,
        bos_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def passages() -> list[Passage]:
    return [
        Passage(
            "doc_0@0", "The Amber Line opened in 1931. It was designed by Clara Voss and is 14 km long.", "Amber Line"
        ),
        Passage("doc_0@1", "Clara Voss studied in Graz before she moved to the coast.", "Clara Voss"),
        Passage("doc_1@0", "Tern Island has a lighthouse, built in 1874.", "Tern Island"),
        Passage("doc_1@1", "The ferry to Tern Island leaves twice a day from Port Hale.", "Tern Island"),
        Passage("doc_2@0", "Bread dough rises because yeast turns sugar into carbon dioxide.", "Bread"),
        Passage("doc_2@1", "Rye has less gluten than wheat.", "Rye"),
        Passage("doc_3@0", "Old trains ran on the north line " * 20, "Trains"),
    ]


@pytest.fixture
def corpus_file(tmp_path, passages) -> Path:
    """The passages in course layout."""
    return write_corpus(tmp_path / "corpus.txt", passages)


def write_corpus(path: Path, passages) -> Path:
    rows = ({"id": p.id, "title": p.title, "text": p.text, "source": "made"} for p in passages)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def compiled_graphs(tmp_path_factory):
    """Where the graphs of tiny models are kept: compiling one takes longer than training it."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def data(tmp_path, monkeypatch, tiny_encoder_folder, tiny_reranker_folder, compiled_graphs):
    """Settings over tiny models, an index, and course files whose dev questions are not in train."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "compiled").symlink_to(compiled_graphs, target_is_directory=True)
    monkeypatch.setenv("RAG_HOME", str(home))
    from rag import build
    from rag.config import load_settings
    from tests.tuning import FAST, PASSAGES, rows

    corpus = write_corpus(tmp_path / "corpus.txt", PASSAGES)
    (tmp_path / "train.txt").write_text(rows(range(22)), "utf-8")
    (tmp_path / "dev.txt").write_text(rows(range(22, 30)), "utf-8")
    overrides = [f"encoder.model={tiny_encoder_folder}", f"reranker.model={tiny_reranker_folder}"]
    settings = load_settings(overrides=[*overrides, *FAST, "training.freeze_embeddings=false", "retriever.kind=bm25"])
    build.make_index(settings, corpus, tmp_path / "index")
    return settings, tmp_path
