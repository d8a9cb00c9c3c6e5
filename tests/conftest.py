"""Tiny random models, made once per session: real architectures and tokenizers, a few kilobytes each.

With `-n auto` tests run in several processes, the workers. Each makes these models for itself.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

from tests.fakes.home import home_of_tests

os.environ["RAG_HOME"] = home_of_tests()

import hypothesis
import psutil
import pytest

from rag.build import indexes
from rag.compute.hardware import n_threads
from rag.types import Passage
from tests.fakes.documents import WordEncoder
from tests.fakes.tiny import bert_config, bert_tokenizer, make_tiny_encoder, word_tokenizer, write_corpus

N_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
if N_WORKERS:  # each computes with its share of the cores, and threads that wait leave theirs to the others
    os.environ.setdefault("OMP_NUM_THREADS", str(max(n_threads() // N_WORKERS, 1)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
GIB_PER_WORKER, GIB_FOR_REAL_WEIGHTS = 2, 6

# How long an example takes depends on what runs beside it, and proves nothing.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config) -> int:
    """The workers of `-n auto`: one for each core, as far as memory allows."""
    spare_gib = psutil.virtual_memory().available / 2**30 - GIB_FOR_REAL_WEIGHTS
    return max(1, min(n_threads(), int(spare_gib / GIB_PER_WORKER)))


@functools.cache
def loads_real_weights(path: Path) -> bool:
    """Whether tests of this file load real weights."""
    return re.search(r"\bmark\.(real|vllm|browser)\b", path.read_text("utf-8")) is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One worker for the tests of a file, and one for all files that load real weights: memory holds few at once."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "real weights" if loads_real_weights(config.rootpath / file) else file

    config.option.loadscopereorder = False  # the order is that below
    return ByFile(config, log)


def pytest_collection_modifyitems(items) -> None:
    """Where workers share the tests, what takes longest comes first, so that all of them end together."""
    if N_WORKERS:
        items.sort(key=lambda item: (not loads_real_weights(item.path), item.path.parent.name != "train"))


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
    size = bert_tokenizer(folder, 64)
    BertForSequenceClassification(bert_config(size, num_labels=1)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_reader_folder(tmp_path_factory) -> Path:
    """A question answering BERT of random weights, large enough in its heads that its logits differ."""
    import torch
    from transformers import BertForQuestionAnswering

    folder = tmp_path_factory.mktemp("reader")
    torch.manual_seed(3)
    model = BertForQuestionAnswering(bert_config(bert_tokenizer(folder, 64), num_labels=2))
    with torch.no_grad():
        model.qa_outputs.weight *= 100
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_generator_folder(tmp_path_factory) -> Path:
    """A Qwen2 of random weights, its heads the smallest that vLLM takes, its template knowing `enable_thinking`."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("generator")
    torch.manual_seed(2)
    special = ["<|endoftext|>", "[UNK]", "<|im_start|>", "<|im_end|>"]
    tokenizer, size = word_tokenizer(special, None)
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
    from rag.config import load_settings
    from tests.fakes.training import FAST, KINDS, PASSAGES, rows

    corpus = write_corpus(tmp_path / "corpus.txt", PASSAGES)
    (tmp_path / "train.txt").write_text(rows(range(22)), "utf-8")
    (tmp_path / "dev.txt").write_text(rows(range(22, 30)), "utf-8")
    overrides = [f"encoder.model={tiny_encoder_folder}", f"reranker.model={tiny_reranker_folder}"]
    overrides += [f"training.{kind}.freeze_embeddings=false" for kind in KINDS]
    settings = load_settings(overrides=[*overrides, *FAST, "retriever.kind=bm25", "reader.enabled=false"])
    indexes.make_index(settings, corpus, tmp_path / "index")
    return settings, tmp_path


@pytest.fixture
def encoder(monkeypatch):
    """An encoder of words, which every index of documents is made with."""
    made = WordEncoder()
    monkeypatch.setattr(indexes, "make_encoder", lambda settings, lazy: made)
    return made
