"""What a server says of its models: names and windows, in the form that each kind of server has."""

import subprocess
import sys

import pytest

from rag.errors import GenerationError
from rag.generate.engines.served import KeyRefused, NoServer, ServedModel, served_models, window_of
from rag.generate.engines.server import THINKING_TOKENS, ServerGenerator
from tests.fakes.chat_server import running


@pytest.fixture
def server():
    with running() as server:
        yield server


def listing(*entries):
    return {"object": "list", "data": [{"object": "model", **entry} for entry in entries]}


def conversation(text):
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("entry", "window"),
    [
        ({"owned_by": "vllm", "max_model_len": 2048}, 2048),
        ({"meta": {"n_ctx": 4096, "n_ctx_train": 32768}}, 4096),
        ({"context_length": 131072, "max_model_len": None}, 131072),
        ({"context_window": 8192}, 8192),
        ({"max_context_length": 32000}, 32000),
        ({"owned_by": "openai"}, None),
        ({"max_model_len": "many", "meta": "none"}, None),
        ({"max_model_len": True}, None),
    ],
)
def test_windows_are_read_where_each_server_tells_them(server, entry, window):
    server.pages["/v1/models"] = listing({"id": "m", **entry}, {"id": "other", "max_model_len": 7})
    assert served_models(server.url)[0] == ServedModel("m", window)
    assert window_of(server.url, "m") == window


def test_a_list_without_an_envelope_is_read_and_odd_entries_are_not(server):
    server.pages["/v1/models"] = [{"id": "m"}, {"name": "n"}, 7, {"id": None}, {"id": "x" * 400}]
    assert served_models(server.url) == [ServedModel("m")]


@pytest.mark.parametrize("page", [None, {"data": None}, {"data": {"id": "m"}}, "text", {}])
def test_a_server_without_a_list_of_models_is_no_error(server, page):
    if page is not None:
        server.pages["/v1/models"] = page
    assert not served_models(server.url)
    assert window_of(server.url, "m") is None


def test_a_loaded_model_of_ollama_has_the_window_that_it_was_loaded_with(server):
    server.pages["/v1/models"] = listing({"id": "qwen3:4b", "owned_by": "library"})
    server.pages["/api/ps"] = {
        "models": [{"name": "other", "context_length": 1}, {"name": "qwen3:4b", "context_length": 9000}]
    }
    server.pages["/api/show"] = {"parameters": "num_ctx 2048", "model_info": {"qwen3.context_length": 262144}}
    assert window_of(server.url, "qwen3:4b") == 9000


@pytest.mark.parametrize(
    ("parameters", "trained", "window"),
    [
        ('stop "<x>"\nnum_ctx                        16384\ntop_k 20', 262144, 16384),
        ("num_ctx 16384", 2048, 2048),  # no longer than it was trained for
        ("temperature 0.7", 2048, 2048),
        ("temperature 0.7", 262144, None),  # whatever the memory allows, which nobody knows before it is loaded
        (None, None, None),
    ],
)
def test_a_model_of_ollama_that_is_not_loaded_has_the_window_of_its_file(server, parameters, trained, window):
    server.pages["/v1/models"] = listing({"id": "llama:latest", "owned_by": "library"})
    server.pages["/api/ps"] = {"models": []}
    information = {"general.architecture": "llama", "llama.context_length": trained}
    server.pages["/api/show"] = {"parameters": parameters, "model_info": information}
    assert window_of(server.url, "llama") == window
    assert server.asked == ["/v1/models", "/api/ps", "/api/show llama"]


def test_only_ollama_is_asked_as_ollama(server):
    server.pages["/v1/models"] = listing({"id": "gpt-5-mini", "owned_by": "system"})
    assert window_of(server.url, "gpt-5-mini") is None
    assert server.asked == ["/v1/models"]


def test_a_server_that_is_not_there_and_a_key_that_is_refused_are_told_apart(server):
    server.key = "right"
    with pytest.raises(KeyRefused, match="refused the key"):
        served_models(server.url, "wrong")
    server.pages["/v1/models"] = listing({"id": "m"})
    assert served_models(server.url, "right") == [ServedModel("m")]
    with pytest.raises(NoServer, match=r"no server answers at http://127\.0\.0\.1:9/v1"):
        served_models("http://127.0.0.1:9/v1")
    assert window_of("http://127.0.0.1:9/v1", "m") is None
    assert window_of(server.url, "m", "wrong") is None


def test_the_generator_takes_the_window_that_its_server_tells_where_that_is_smaller(server, capsys):
    server.pages["/v1/models"] = listing({"id": "m", "max_model_len": 1000})
    generator = ServerGenerator("m", base_url=server.url)
    assert server.asked == []  # a chat starts without its server
    assert (generator.context_window_tokens, generator.context_window_tokens) == (1000, 1000)
    assert server.asked == ["/v1/models"]
    assert "m at " in capsys.readouterr().err
    server.pages["/v1/models"] = listing({"id": "m", "max_model_len": 100_000})
    assert ServerGenerator("m", base_url=server.url).context_window_tokens == 4096


def test_the_first_question_does_not_wait_for_the_client_to_be_imported():
    code = "import sys; from rag.generate.engines import server; assert 'openai' not in sys.modules; "
    code += "server.ServerGenerator('m', base_url='http://127.0.0.1:9/v1'); assert server.CLIENT in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_that_thinks_is_given_room_for_it_beside_its_answer(server):
    server.pages["/v1/models"] = listing({"id": "m", "max_model_len": 8000})
    generator = ServerGenerator("m", base_url=server.url, max_new_tokens=50, reasoning="low")
    generator.generate([conversation("hi")])
    assert server.requests[-1]["reasoning_effort"] == "low"
    assert server.requests[-1]["max_tokens"] == 50 + THINKING_TOKENS
    assert generator.context_window_tokens == 4000  # half: 8000 - 4096 would be less
    without = ServerGenerator("m", base_url=server.url, max_new_tokens=50, reasoning="none")
    without.generate([conversation("hi")])
    assert (server.requests[-1]["reasoning_effort"], server.requests[-1]["max_tokens"]) == ("none", 50)
    ServerGenerator("m", base_url=server.url).generate([conversation("hi")])
    assert "reasoning_effort" not in server.requests[-1]


def test_a_server_that_knows_no_thinking_is_asked_without(server):
    server.known_fields = {"model", "messages", "max_tokens"}
    generator = ServerGenerator("m", base_url=server.url, retries=0, reasoning="low")
    assert generator.generate([conversation("hi")]) == ["HI"]
    assert "reasoning_effort" not in server.requests[-1]


def test_a_model_that_only_thought_is_an_error_with_the_setting_that_helps(server):
    server.answer, server.finish_reason = "", "length"
    generator = ServerGenerator("m", base_url=server.url, max_new_tokens=50, retries=0)
    with pytest.raises(GenerationError, match="used its 50 tokens before it began to answer"):
        generator.generate([conversation("hi")])
    with pytest.raises(GenerationError, match=r"generator\.server_reasoning=low"):
        list(generator.stream(conversation("hi")))
    server.answer = "begun but cut"
    assert generator.generate([conversation("hi")]) == ["begun but cut"]
    assert "".join(generator.stream(conversation("hi"))).split() == ["begun", "but", "cut"]
