"""A generator chosen by one word: what follows from it, and what is said where it cannot be had."""

import pytest

from rag.build.chosen_prompt import choose_prompt, max_new_tokens_of, sentence_margin_of
from rag.build.identity import generator_record
from rag.build.llm import PROVIDERS, label_of, packaged_sizes, with_llm
from rag.build.parts import make_generator
from rag.config import load_settings
from rag.errors import ConfigError
from rag.generate.engines.served import KeyRefused, NoServer
from tests.fakes.chat_server import running

SMALL, LARGER = "Qwen/Qwen2.5-Coder-0.5B-Instruct", "Qwen/Qwen2.5-Coder-1.5B-Instruct"


@pytest.fixture
def server():
    with running() as server:
        yield server


def serves(server, *names, **more):
    server.pages["/v1/models"] = {"data": [{"id": name, **more} for name in names]}


def chosen(choice, environment=(), *overrides):
    return with_llm(load_settings(None, overrides), choice, dict(environment)).generator


@pytest.mark.parametrize(
    ("choice", "model"),
    [
        ("packaged", SMALL),
        ("packaged:0.5B", SMALL),
        ("packaged:1.5b", LARGER),
        ("packaged:Qwen2.5-Coder-1.5B-Instruct", LARGER),
        (LARGER, LARGER),
        ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B"),
    ],
)
def test_models_of_this_process_are_named_by_word_size_or_name(choice, model):
    assert (chosen(choice).model, chosen(choice).kind) == (model, "auto")
    kept = chosen(choice, (), "generator.kind=transformers", "generator.precision=fp32")
    assert (kept.model, kept.kind, kept.precision) == (model, "transformers", "fp32")
    assert chosen(choice, (), "generator.kind=server").kind == "auto"


def test_a_folder_is_a_model(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert chosen("mine").model == "mine"


def test_the_sizes_that_are_packaged_are_listed():
    assert packaged_sizes() == {"0.5B": SMALL, "1.5B": LARGER}
    with pytest.raises(ConfigError, match=r"there is packaged:0\.5B, packaged:1\.5B"):
        chosen("packaged:7B")


def test_an_address_is_asked_for_the_one_model_that_it_serves(server):
    serves(server, "org/tiny", max_model_len=2048)
    settings = with_llm(load_settings(), server.url, {})
    generator = settings.generator
    assert (generator.kind, generator.model, generator.server_url) == ("server", "org/tiny", server.url)
    assert generator.context_window_tokens == 2048
    assert choose_prompt(settings).name == "cited-v2"
    assert sentence_margin_of(settings) == 0  # whole passages
    assert max_new_tokens_of(settings) == 512  # a quarter of the window
    assert make_generator(settings, interactive=True).generate([[{"role": "user", "content": "hi"}]]) == ["HI"]
    assert server.requests[-1]["model"] == "org/tiny"


def test_an_address_without_a_path_means_its_v1(server):
    serves(server, "m")
    assert chosen(server.url.removesuffix("/v1") + "/").server_url == server.url


def test_one_of_several_is_named_behind_the_address(server):
    serves(server, "org/one", "org/two")
    assert chosen(f"{server.url}#org/two").model == "org/two"
    with pytest.raises(ConfigError, match=rf"serves 2 models; name one: {server.url}#org/one, {server.url}#org/two"):
        chosen(server.url)
    with pytest.raises(ConfigError, match=rf"does not serve 'org/too'; did you mean {server.url}#org/two"):
        chosen(f"{server.url}#org/too")


def test_a_server_that_lists_nothing_is_believed_to_serve_what_is_named(server):
    assert chosen(f"{server.url}#m").model == "m"
    with pytest.raises(ConfigError, match=f"does not list its models; name one: --llm {server.url}#MODEL"):
        chosen(server.url)


def test_ollama_is_found_by_its_own_variable_and_does_not_think(server):
    serves(server, "qwen3:4b", "llama3.2:latest", owned_by="library")
    server.pages["/api/show"] = {"model_info": {"qwen3.context_length": 262144}, "parameters": "num_ctx 2048"}
    host = {"OLLAMA_HOST": server.url.split("//")[1].removesuffix("/v1")}
    generator = chosen("ollama:qwen3:4b", host.items())
    assert (generator.model, generator.server_url) == ("qwen3:4b", server.url)
    assert (generator.server_reasoning, generator.context_window_tokens) == ("none", 2048)
    assert chosen("ollama:llama3.2", host.items()).model == "llama3.2:latest"


def test_the_window_of_a_model_that_ollama_has_loaded_makes_no_other_run(server):
    serves(server, "qwen3:4b", owned_by="library")
    host = {"OLLAMA_HOST": server.url}.items()
    before = chosen("ollama:qwen3:4b", host)
    server.pages["/api/ps"] = {"models": [{"name": "qwen3:4b", "context_length": 32768}]}
    assert chosen("ollama:qwen3:4b", host) == before
    assert chosen("ollama:qwen3:4b", host, "generator.context_window_tokens=50000").context_window_tokens == 32768


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        (":1234", "http://127.0.0.1:1234/v1"),
        ("gpu.lan:80", "http://gpu.lan:80/v1"),
        ("https://gpu.lan", "https://gpu.lan/v1"),
    ],
)
def test_the_address_of_ollama_is_read_as_ollama_reads_it(monkeypatch, variable, expected):
    asked = []
    monkeypatch.setattr("rag.build.llm.served_models", lambda url, key: asked.append(url))
    monkeypatch.setattr("rag.build.llm.window_of", lambda *of: None)
    chosen("ollama:m", {"OLLAMA_HOST": variable}.items())
    assert asked == [expected]


def test_a_model_that_ollama_lacks_is_fetched_or_another_is_meant(server):
    serves(server, "qwen3:4b", "gemma3:4b")
    with pytest.raises(ConfigError, match=r"did you mean ollama:qwen3:4b.*; or fetch it: ollama pull qwen3:4"):
        chosen("ollama:qwen3:4", {"OLLAMA_HOST": server.url}.items())


def test_a_provider_is_asked_with_its_own_key(server):
    serves(server, "gpt-5-mini", "gpt-5-nano")
    server.key = "sk-right"
    known = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-right"}
    generator = chosen("openai:gpt-5-mini", known.items())
    assert (generator.server_api_key_variable, generator.server_reasoning) == ("OPENAI_API_KEY", "low")
    assert generator.context_window_tokens == 4096  # OpenAI does not tell
    with pytest.raises(ConfigError, match="did you mean openai:gpt-5-mini"):
        chosen("openai:gpt-5-mimi", known.items())
    with pytest.raises(KeyRefused, match="set OPENAI_API_KEY to one that it knows"):
        chosen("openai:gpt-5-mini", {**known, "OPENAI_API_KEY": "sk-wrong"}.items())


def test_a_key_that_is_not_set_is_named_before_anything_is_asked():
    with pytest.raises(ConfigError, match="OpenAI needs a key, and OPENAI_API_KEY is not set: export OPENAI_API_KEY=…"):
        chosen("openai:gpt-5-mini")


def test_a_server_that_is_not_there_is_started_by_the_command_that_is_said(monkeypatch):
    with pytest.raises(NoServer, match=r"Ollama does not answer at http://127\.0\.0\.1:9/v1; start it: ollama serve"):
        chosen("ollama:qwen3:4b", {"OLLAMA_HOST": "127.0.0.1:9"}.items())
    with pytest.raises(NoServer, match=r"no server answers at http://127\.0\.0\.1:9/v1"):
        chosen("http://127.0.0.1:9/v1#m")


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("olama:qwen3:4b", "did you mean ollama:qwen3:4b"),
        ("OpenAI:gpt-5-mini", "did you mean openai:gpt-5-mini"),
        ("package", "did you mean packaged"),
        ("qwen3:4b", "did you mean ollama:qwen3:4b"),
        ("gpt-5-mini", "did you mean ollama:gpt-5-mini or openai:gpt-5-mini"),
    ],
)
def test_what_is_not_understood_is_answered_with_what_may_be_meant(choice, meant):
    with pytest.raises(ConfigError, match=meant):
        chosen(choice)


def test_what_the_settings_say_of_prompt_and_thinking_stays(server):
    serves(server, "m", max_model_len=50_000)
    overrides = ["prompt.name=fenced-v1", "generator.server_reasoning=high", "generator.context_window_tokens=3000"]
    settings = with_llm(load_settings(None, overrides), server.url, {})
    assert choose_prompt(settings).name == "fenced-v1"
    assert settings.generator.server_reasoning == "high"
    assert settings.generator.context_window_tokens == 3000


def test_every_provider_has_an_address_and_a_key_of_its_own():
    addresses = [provider.address for provider in PROVIDERS.values()]
    assert len(set(addresses)) == len(addresses)
    assert {name for name, provider in PROVIDERS.items() if provider.is_local} == {
        "ollama",
        "lmstudio",
        "llamacpp",
        "vllm",
    }
    assert all(
        url.startswith("https://" if not PROVIDERS[n].is_local else "http://127.0.0.1:")
        for n, url in zip(PROVIDERS, addresses, strict=True)
    )


@pytest.mark.parametrize(
    ("choice", "label"),
    [
        ("packaged", "Qwen2.5-Coder-0.5B-Instruct (packaged)"),
        ("ollama:qwen3:4b", "qwen3:4b (Ollama)"),
        ("openai:gpt-5-mini", "gpt-5-mini (OpenAI)"),
        ("http://me:secret@gpu.lan:8000/v1#org/m", "org/m (gpu.lan:8000)"),
        ("http://gpu.lan:8000/v1", "gpu.lan:8000"),
        ("Qwen/Qwen3-4B", "Qwen3-4B (in this process)"),
    ],
)
def test_a_choice_has_a_label_that_people_read(choice, label):
    assert label_of(choice) == label


def test_runs_from_before_models_could_think_go_on():
    assert "server_reasoning" not in generator_record(load_settings())
    assert generator_record(load_settings(None, ["generator.server_reasoning=low"]))["server_reasoning"] == "low"
