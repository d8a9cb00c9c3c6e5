"""Which engine answers, what tells engines apart, and what a question loads."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from rag.build import parts
from rag.build.identity import generator_identity
from rag.build.parts import generator_kind, make_generator
from rag.build.side_by_side import load_side_by_side
from rag.config import load_settings
from rag.errors import ConfigError, ModelError
from rag.generate.engines.ctranslate2 import CTranslate2Generator
from rag.lazy import Lazy
from tests.fakes.chat_models import make_tiny_chat_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_chat_model(tmp_path_factory.mktemp("generator"))


def settings_of(folder, *overrides):
    return load_settings(None, [f"generator.model={folder}", *overrides])


@pytest.mark.parametrize(
    ("installed", "device", "precision", "batch", "one"),
    [
        ({"vllm", "ctranslate2"}, "cpu", "auto", "vllm", "ctranslate2"),
        ({"ctranslate2"}, "cpu", "auto", "ctranslate2", "ctranslate2"),
        ({"ctranslate2"}, "cpu", "fp32", "ctranslate2", "ctranslate2"),
        ({"ctranslate2"}, "cpu", "bf16", "transformers", "transformers"),
        ({"ctranslate2"}, "cuda", "auto", "transformers", "transformers"),
        ({"vllm"}, "cuda", "auto", "vllm", "transformers"),
        (set(), "cpu", "auto", "transformers", "transformers"),
    ],
)
def test_auto_chooses_by_use_hardware_and_what_is_installed(
    folder, monkeypatch, installed, device, precision, batch, one
):
    monkeypatch.setattr(parts, "_is_installed", lambda package: package in installed)
    monkeypatch.setattr(parts, "default_device", lambda: device)
    settings = settings_of(folder, f"generator.precision={precision}")
    assert generator_kind(settings, interactive=False) == batch
    assert generator_kind(settings, interactive=True) == one


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("model_type", "qwen3", "ctranslate2"),
        ("model_type", "llama", "transformers"),
        ("use_sliding_window", True, "transformers"),
        ("rope_parameters", {"rope_type": "yarn", "factor": 4.0}, "transformers"),
        ("quantization_config", {"quant_method": "awq"}, "transformers"),
    ],
)
def test_auto_leaves_a_checkpoint_that_was_not_compared_to_transformers(tmp_path, monkeypatch, key, value, kind):
    monkeypatch.setattr(parts, "_is_installed", lambda package: package == "ctranslate2")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", key: value}), "utf-8")
    assert generator_kind(settings_of(tmp_path), interactive=True) == kind


def test_a_kind_that_was_chosen_is_taken(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    settings = settings_of(folder, "generator.kind=ctranslate2", "generator.max_new_tokens=3")
    generator = make_generator(settings, interactive=False)
    assert isinstance(generator, CTranslate2Generator)
    assert generator.max_new_tokens == 3
    assert (tmp_path / "compiled").is_dir()


def test_int8_is_refused_where_transformers_would_answer(folder):
    with pytest.raises(ConfigError, match="int8 is for CTranslate2, and transformers runs"):
        make_generator(settings_of(folder, "generator.kind=transformers", "generator.precision=int8"), interactive=True)


def test_engines_and_their_arithmetic_are_told_apart(folder):
    identities = {
        generator_identity(settings_of(folder, *overrides))
        for overrides in (
            ["generator.kind=transformers"],
            ["generator.kind=vllm"],
            ["generator.kind=ctranslate2"],
            ["generator.kind=ctranslate2", "generator.precision=fp32"],
        )
    }
    assert len(identities) == 4
    same = ["generator.kind=ctranslate2", "generator.precision=int8"]  # what auto means
    assert generator_identity(settings_of(folder, *same)) in identities


LIGHT = """
import json, sys
from rag.build.parts import make_encoder, make_generator, make_reranker
from rag.config import load_settings

settings = load_settings(None, sys.argv[1:])
make_encoder(settings).encode_queries(["the river"])
make_reranker(settings).score([("who", "the river")])
make_generator(settings, interactive=True).generate([[{"role": "user", "content": "the river"}]])
print(json.dumps([name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules]))
"""


def test_once_all_is_compiled_no_question_loads_torch(folder, tiny_encoder_folder, tiny_reranker_folder, tmp_path):
    arguments = [f"generator.model={folder}", f"encoder.model={tiny_encoder_folder}"]
    arguments += [f"reranker.model={tiny_reranker_folder}", "generator.kind=ctranslate2"]
    environment = {**os.environ, "RAG_HOME": str(tmp_path)}
    loaded = []
    for _ in range(2):
        command = [sys.executable, "-c", LIGHT, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr[-3000:]
        loaded.append(json.loads(result.stdout.splitlines()[-1]))
    assert "torch" in loaded[0]
    assert loaded[1] == []


def test_parts_load_at_the_same_time_and_once():
    meeting = threading.Barrier(2, timeout=30)
    counts = [0, 0]

    def load(n):
        counts[n] += 1
        meeting.wait()  # passes only while the other one loads
        return n

    lazies = [Lazy(lambda: load(0)), Lazy(lambda: load(1))]
    load_side_by_side(*lazies)
    deadline = time.monotonic() + 30
    while not all(lazy.loaded for lazy in lazies) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [lazy.get() for lazy in lazies] == [0, 1]
    assert counts == [1, 1]


def test_a_part_that_cannot_be_loaded_raises_where_it_is_asked_for():
    def load():
        raise ModelError("gone")

    part = Lazy(load)
    load_side_by_side(part)
    with pytest.raises(ModelError, match="gone"):
        part.get()
