"""One contract for every generator: transformers, CTranslate2 and vLLM on tiny models, a server on loopback."""

import pytest

from rag.errors import GenerationError, ModelError
from rag.generate.engines import vllm as vllm_engine
from rag.generate.engines.ctranslate2 import CTranslate2Generator
from rag.generate.engines.server import ServerGenerator
from rag.generate.engines.transformers import TransformersGenerator
from rag.types import Generator
from tests.fakes.chat_server import running


def conversation(text):
    return [{"role": "user", "content": text}]


@pytest.fixture
def server():
    with running() as chat_server:
        yield chat_server


@pytest.fixture(scope="module")
def tiny(tiny_generator_folder):
    return TransformersGenerator(tiny_generator_folder, max_new_tokens=8, context_window_tokens=200, device="cpu")


@pytest.fixture(scope="module")
def tiny_vllm(tiny_generator_folder):
    pytest.importorskip("vllm")
    from rag.generate.engines.vllm import VllmGenerator

    engine = VllmGenerator(
        tiny_generator_folder, max_new_tokens=8, context_window_tokens=200, max_sequences=4, cpu_cache_gib=1
    )
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tiny_ctranslate2(tiny_generator_folder, tmp_path_factory):
    return CTranslate2Generator(
        tiny_generator_folder,
        cache_root=tmp_path_factory.mktemp("compiled"),
        max_new_tokens=8,
        context_window_tokens=200,
    )


@pytest.fixture(params=["transformers", "server", "ctranslate2", pytest.param("vllm", marks=pytest.mark.vllm)])
def generator(request, tiny, server):
    if request.param == "transformers":
        return tiny
    if request.param == "ctranslate2":
        return request.getfixturevalue("tiny_ctranslate2")
    if request.param == "vllm":
        return request.getfixturevalue("tiny_vllm")
    return ServerGenerator("tiny", base_url=server.url, timeout_seconds=5, retries=0)


class TestGeneratorContract:
    def test_it_satisfies_the_protocol(self, generator):
        assert isinstance(generator, Generator)

    def test_answers_come_in_order(self, generator):
        texts = ["the river", "who built the old tower in the north", "a", "why how which"]
        together = generator.generate([conversation(text) for text in texts])
        assert together == [generator.generate([conversation(text)])[0] for text in texts]

    def test_no_conversations_give_no_answers(self, generator):
        assert generator.generate([]) == []

    def test_streaming_gives_the_same_answer(self, generator):
        whole = generator.generate([conversation("the old river")])[0]
        assert "".join(generator.stream(conversation("the old river"))).strip() == whole.strip()

    def test_longer_conversations_count_more_tokens(self, generator):
        short, long = conversation("the river"), conversation("the river " * 50)
        assert 0 < generator.count_tokens(short) < generator.count_tokens(long)


def test_a_server_is_taken_to_read_a_token_in_every_character_that_is_not_ascii():
    generator = ServerGenerator("tiny", base_url="http://127.0.0.1:9/v1")
    few, more, many = (generator.count_tokens(conversation(text)) for text in ("", "the" * 20, "渡轮九" * 20))
    assert (more - few, many - few) == (20, 60)


def test_closing_a_stream_stops_the_model(tiny):
    stream = tiny.stream(conversation("the old river"))
    next(stream, None)
    stream.close()
    assert len(tiny.generate([conversation("the river")])) == 1


def test_thinking_is_off_through_the_chat_template(tiny):
    assert tiny._render(conversation("hi")).endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("precision", "flags", "vendor", "dtype"),
    [
        ("auto", {"avx2"}, "AuthenticAMD", "float32"),
        ("auto", {"avx2", "avx512_bf16"}, "AuthenticAMD", "bfloat16"),
        ("auto", {"avx2", "avx512_bf16"}, "GenuineIntel", "float32"),
        ("auto", {"avx512_bf16", "amx_bf16"}, "GenuineIntel", "bfloat16"),
        ("bf16", {"avx2"}, "GenuineIntel", "bfloat16"),
        ("fp32", {"amx_bf16"}, "GenuineIntel", "float32"),
    ],
)
def test_half_precision_is_for_hardware_that_multiplies_it_faster(
    tiny_generator_folder, monkeypatch, precision, flags, vendor, dtype
):
    monkeypatch.setattr("rag.compute.hardware.cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr("rag.compute.hardware.cpu_vendor", lambda: vendor)
    generator = TransformersGenerator(tiny_generator_folder, precision=precision, device="cpu")
    assert str(generator._model.dtype) == f"torch.{dtype}"
    assert vllm_engine._dtype(precision, "cpu") == dtype


def test_a_gpu_says_itself_whether_it_multiplies_bf16():
    assert vllm_engine._dtype("auto", "cuda") == "auto"
    assert vllm_engine._dtype("fp32", "cuda") == "float32"


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        TransformersGenerator(tmp_path)


def test_the_server_is_told_model_limits_and_no_thinking(server):
    ServerGenerator("tiny", base_url=server.url, max_new_tokens=7).generate([conversation("hi")])
    (request,) = server.requests
    assert request["model"] == "tiny"
    assert request["max_tokens"] == 7
    assert request["chat_template_kwargs"] == {"enable_thinking": False}


STANDARD_FIELDS = {"model", "messages", "max_tokens", "temperature", "seed", "stream"}


def test_a_server_that_knows_only_standard_fields_is_asked_with_those(server):
    server.known_fields = STANDARD_FIELDS
    generator = ServerGenerator("tiny", base_url=server.url, retries=0)
    assert generator.generate([conversation("hi"), conversation("ho")]) == ["HI", "HO"]
    assert "".join(ServerGenerator("tiny", base_url=server.url, retries=0).stream(conversation("hi"))).strip() == "HI"
    server.requests.clear()
    generator.generate([conversation("again")])
    assert len(server.requests) == 1


def test_a_server_that_refuses_what_nothing_can_be_asked_without_says_so(server):
    server.known_fields = STANDARD_FIELDS - {"model"}
    with pytest.raises(GenerationError, match="Unrecognized request argument supplied: model"):
        ServerGenerator("tiny", base_url=server.url, retries=0).generate([conversation("hi")])


def test_a_server_that_fails_twice_is_asked_again(server):
    server.failures = [503, 500]
    assert ServerGenerator("tiny", base_url=server.url, retries=3).generate([conversation("hi")]) == ["HI"]
    assert len(server.requests) == 3


def test_a_server_that_keeps_failing_becomes_a_sentence(server):
    server.failures = [500] * 10
    with pytest.raises(GenerationError, match="failed"):
        ServerGenerator("tiny", base_url=server.url, retries=1).generate([conversation("hi")])


def test_a_server_that_is_down_becomes_a_sentence():
    generator = ServerGenerator("tiny", base_url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(GenerationError, match="no server answers"):
        generator.generate([conversation("hi")])
    with pytest.raises(GenerationError, match="no server answers"):
        list(generator.stream(conversation("hi")))


def test_a_server_that_is_too_slow_becomes_a_sentence(server):
    server.delay_seconds = 1.0
    with pytest.raises(GenerationError, match="did not answer within"):
        ServerGenerator("tiny", base_url=server.url, timeout_seconds=0.2, retries=0).generate([conversation("hi")])
