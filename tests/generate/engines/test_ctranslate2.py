"""CTranslate2 beside transformers: the same answers in the same arithmetic, and a conversion that is made once."""

import shutil
import signal
import subprocess
import sys
import threading

import pytest

from rag.errors import ConfigError, GenerationError, ModelError
from rag.generate.engines import conversion
from rag.generate.engines.ctranslate2 import CTranslate2Generator, batches_of_like_length
from rag.generate.engines.transformers import TransformersGenerator, render_chat
from rag.types import ScoresBeginnings
from tests.fakes.chat_models import make_tiny_chat_model

TEXTS = ["the river", "who built the old tower in the north", "a", "why how which", "the old river " * 20]


def conversation(text):
    return [{"role": "user", "content": text}]


CONVERSATIONS = [conversation(text) for text in TEXTS]


@pytest.fixture(scope="module", params=["qwen2", "qwen3"])
def folder(request, tmp_path_factory):
    return make_tiny_chat_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory):
    return make_tiny_chat_model(tmp_path_factory.mktemp("qwen2"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def conversions(monkeypatch):
    """The folders that are converted from now on."""
    made = []
    really = conversion._convert

    def convert(folder, target, quantization):
        made.append(folder)
        really(folder, target, quantization)

    monkeypatch.setattr(conversion, "_convert", convert)
    return made


def converted_folder(cache):
    (found,) = [path for path in (cache / "models").iterdir() if path.is_dir()]
    return found


def test_greedy_answers_in_fp32_are_those_of_transformers(folder, cache):
    options = {"max_new_tokens": 12, "context_window_tokens": 200, "precision": "fp32"}
    theirs = TransformersGenerator(folder, device="cpu", **options)
    ours = CTranslate2Generator(folder, cache_root=cache, **options)
    assert ours.generate(CONVERSATIONS) == theirs.generate(CONVERSATIONS)
    assert ["".join(ours.stream(c)) for c in CONVERSATIONS] == ours.generate(CONVERSATIONS)
    assert [ours.count_tokens(c) for c in CONVERSATIONS] == [theirs.count_tokens(c) for c in CONVERSATIONS]


def test_beginnings_are_scored_as_a_forward_pass_by_hand_scores_them(folder, cache):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    beginning = tokenizer("the old bridge", add_special_tokens=False)["input_ids"]
    assert len(beginning) > 1
    by_hand = []
    for messages in CONVERSATIONS:
        text = render_chat(tokenizer, messages)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        total = 0.0
        for token in beginning:  # one token after the other, without padding
            with torch.inference_mode():
                total += float(model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token])
            ids = [*ids, token]
        by_hand.append(total)
    generators = [
        TransformersGenerator(folder, precision="fp32", device="cpu", batch_size=2),
        CTranslate2Generator(folder, precision="fp32", cache_root=cache),
    ]
    for generator in generators:
        assert isinstance(generator, ScoresBeginnings)
        assert generator.beginning_logprobs(CONVERSATIONS, "the old bridge") == pytest.approx(by_hand, abs=1e-3)
        assert generator.beginning_logprobs(CONVERSATIONS, "") == [0.0] * len(CONVERSATIONS)
        assert generator.beginning_logprobs([], "the") == []


def test_int8_keeps_the_probabilities_near(qwen2, cache):
    exact = CTranslate2Generator(qwen2, precision="fp32", cache_root=cache).beginning_logprobs(CONVERSATIONS, "the")
    close = CTranslate2Generator(qwen2, cache_root=cache).beginning_logprobs(CONVERSATIONS, "the")
    assert close != exact
    assert close == pytest.approx(exact, rel=0.1)


class Endless:
    """A model that never ends by itself; counts its steps."""

    def __init__(self):
        self.steps = 0
        self.ended = threading.Event()

    def generate_batch(self, prompts, *, callback, **options):
        class Step:
            token_id = 5

        while not callback(Step()):
            self.steps += 1
        self.ended.set()


def test_closing_a_stream_stops_the_model(qwen2, cache):
    generator = CTranslate2Generator(qwen2, cache_root=cache, precision="fp32")
    real, generator._model = generator._model, Endless()
    stream = generator.stream(conversation("the old river"))
    assert next(stream)
    assert not generator._model.ended.is_set()
    stream.close()
    assert generator._model.ended.wait(30)
    generator._model = real
    assert len(generator.generate([conversation("the river")])) == 1


def test_a_character_of_several_tokens_is_streamed_whole(qwen2, cache):
    generator = CTranslate2Generator(qwen2, cache_root=cache, precision="fp32")

    class Bytes:
        """Two tokens for each character of "é"."""

        def decode(self, ids):
            return ("é".encode() * len(ids))[: len(ids)].decode("utf-8", "replace")

        def __getattr__(self, name):
            return lambda *arguments: [0]

    class Four:
        def generate_batch(self, prompts, *, callback, **options):
            for _ in range(4):
                callback(type("Step", (), {"token_id": 0}))

    generator._tokenizer, generator._model = Bytes(), Four()
    assert list(generator.stream(conversation("hi"))) == ["é", "é"]


def test_the_token_that_ends_an_answer_is_not_streamed(qwen2, cache):
    generator = CTranslate2Generator(qwen2, cache_root=cache, precision="fp32")
    (end,) = generator._tokenizer.encode("z")  # which decoding would show
    words = [*generator._tokenizer.encode("the"), end]
    generator._end = [end]

    class Ends:
        def generate_batch(self, prompts, *, callback, **options):
            for token in words:
                callback(type("Step", (), {"token_id": token}))

    generator._model = Ends()
    assert "".join(generator.stream(conversation("hi"))) == generator._tokenizer.decode(words[:-1]) != ""


def test_an_error_of_the_model_reaches_whoever_reads_the_stream(qwen2, cache):
    generator = CTranslate2Generator(qwen2, cache_root=cache, precision="fp32")

    class Fails:
        def generate_batch(self, prompts, **options):
            raise RuntimeError("std::bad_alloc")

    generator._model = Fails()
    with pytest.raises(GenerationError, match="failed: std::bad_alloc"):
        list(generator.stream(conversation("hi")))
    with pytest.raises(GenerationError, match="failed: std::bad_alloc"):
        generator.beginning_logprobs([conversation("hi")], "the")


def test_sampled_answers_differ_from_greedy_ones(qwen2, cache):
    options = {"cache_root": cache, "precision": "fp32", "max_new_tokens": 12}
    greedy = CTranslate2Generator(qwen2, **options).generate(CONVERSATIONS)
    assert CTranslate2Generator(qwen2, temperature=50.0, seed=1, **options).generate(CONVERSATIONS) != greedy


@pytest.mark.parametrize(
    ("lengths", "most", "batches"),
    [
        ([], 4, []),
        ([100, 10, 26, 27], 4, [[1, 2], [3], [0]]),  # 26 is 16 longer than 10, 27 is 17 longer
        ([5, 5, 5, 5, 5], 2, [[0, 1], [2, 3], [4]]),
    ],
)
def test_a_batch_holds_prompts_of_like_length(lengths, most, batches):
    assert batches_of_like_length(lengths, most) == batches


def test_a_checkpoint_is_converted_once(qwen2, tmp_path, conversions, capsys):
    for _ in range(2):
        CTranslate2Generator(qwen2, cache_root=tmp_path)
    assert conversions == [qwen2]
    assert capsys.readouterr().err.count("(once)") == 1
    CTranslate2Generator(qwen2, cache_root=tmp_path, precision="fp32")
    assert len(conversions) == 2


def test_threads_that_ask_at_once_convert_once(qwen2, tmp_path, conversions):
    threads = [threading.Thread(target=CTranslate2Generator, args=(qwen2,), kwargs={"cache_root": tmp_path})] * 1
    threads += [threading.Thread(target=CTranslate2Generator, args=(qwen2,), kwargs={"cache_root": tmp_path})]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversions) == 1


@pytest.mark.parametrize("file", ["chat_template.jinja", "model.safetensors"])
def test_another_template_or_other_weights_are_another_conversion(qwen2, tmp_path, conversions, file):
    folder = shutil.copytree(qwen2, tmp_path / "model")
    CTranslate2Generator(folder, cache_root=tmp_path)
    content = bytearray((folder / file).read_bytes())
    content[-1:] = b"} " if file.endswith("jinja") else bytes([content[-1] ^ 1])
    (folder / file).write_bytes(content)
    CTranslate2Generator(folder, cache_root=tmp_path)
    assert len(conversions) == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from rag.generate.engines import conversion

def convert(folder, target, quantization):
    target.mkdir()
    (target / "model.bin").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

conversion._convert = convert
conversion.converted(Path(sys.argv[1]), Path(sys.argv[2]), "int8_float32")
"""


def test_a_conversion_that_is_killed_leaves_nothing_that_looks_whole(qwen2, tmp_path, conversions):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(qwen2), str(tmp_path)], stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    assert len(CTranslate2Generator(qwen2, cache_root=tmp_path).generate(CONVERSATIONS)) == len(CONVERSATIONS)
    assert len(conversions) == 1
    assert [path.name for path in (tmp_path / "models").iterdir() if path.name.startswith(".building")] == []


@pytest.mark.parametrize("file", ["model.bin", "tokenizer.json", "chat.json"])
def test_a_conversion_that_is_damaged_is_made_again(qwen2, tmp_path, conversions, file):
    whole = CTranslate2Generator(qwen2, cache_root=tmp_path).generate(CONVERSATIONS)
    damaged = converted_folder(tmp_path) / file
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert CTranslate2Generator(qwen2, cache_root=tmp_path).generate(CONVERSATIONS) == whole
    assert len(conversions) == 2


def test_a_conversion_that_never_loads_becomes_a_sentence(qwen2, tmp_path, monkeypatch):
    def convert(folder, target, quantization):
        target.mkdir()
        (target / "model.bin").write_bytes(b"nothing")

    monkeypatch.setattr(conversion, "_convert", convert)
    with pytest.raises(ModelError, match=r"cannot load .* generator.kind=transformers"):
        CTranslate2Generator(qwen2, cache_root=tmp_path)


def test_what_cannot_be_converted_becomes_a_sentence(tiny_reranker_folder, tmp_path):
    with pytest.raises(ModelError, match=r"generator.kind=transformers|chat template"):
        CTranslate2Generator(tiny_reranker_folder, cache_root=tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        CTranslate2Generator(tmp_path, cache_root=tmp_path)


def test_an_unknown_architecture_becomes_a_sentence(qwen2, tmp_path):
    from transformers import GPTNeoXJapaneseConfig, GPTNeoXJapaneseForCausalLM

    folder = shutil.copytree(qwen2, tmp_path / "model")
    config = GPTNeoXJapaneseConfig(vocab_size=200, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    GPTNeoXJapaneseForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"No conversion is registered.*; use --set generator.kind=transformers"):
        CTranslate2Generator(folder, cache_root=tmp_path)


def test_without_the_package_it_says_how_to_get_it(qwen2, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ModelError, match="pip install ctranslate2"):
        CTranslate2Generator(qwen2, cache_root=tmp_path)


def test_a_precision_that_it_has_not_is_refused(qwen2, tmp_path):
    with pytest.raises(ConfigError, match=r"bf16.*choose int8 or fp32"):
        CTranslate2Generator(qwen2, cache_root=tmp_path, precision="bf16")
