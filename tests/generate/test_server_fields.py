"""What a server refuses by name is left out or called otherwise, in whatever form it says so."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag.errors import GenerationError
from rag.generate.engines.server import ServerGenerator
from rag.generate.engines.server_fields import (
    ServerFields,
    is_against_system_role,
    refused_field,
    without_system,
)
from tests.fakes.chat_server import running

SENT = {"max_tokens", "temperature", "seed", "chat_template_kwargs", "stream"}
ASK = [{"role": "user", "content": "hi"}]
TOLD = [{"role": "system", "content": "Be brief."}, *ASK]


@pytest.fixture
def server():
    with running() as chat_server:
        yield chat_server


@pytest.fixture
def generator(server):
    return ServerGenerator("tiny", base_url=server.url, max_new_tokens=7, retries=0, timeout_seconds=10)


def openai_error(message, param=None, code=None):
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


USE_INSTEAD = "Unsupported parameter: '{}' is not supported with this model. Use '{}' instead."
IN_WORDS = "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted', 'input': 0}]"
EXTRA = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 0}
FORMS = [
    ("openai", openai_error(USE_INSTEAD.format("max_tokens", "max_completion_tokens"), "max_tokens"), "max_tokens"),
    ("openai without param", openai_error(USE_INSTEAD.format("max_tokens", "max_completion_tokens")), "max_tokens"),
    (
        "openai value",
        openai_error("Unsupported value: only the default (1) is supported.", "temperature"),
        "temperature",
    ),
    (
        "openai old",
        openai_error("Unrecognized request argument supplied: chat_template_kwargs"),
        "chat_template_kwargs",
    ),
    ("vllm", {"object": "error", "message": IN_WORDS, "type": "BadRequestError", "param": None, "code": 400}, "seed"),
    ("vllm new", {"error": {"message": IN_WORDS, "type": "Bad Request", "param": None, "code": 400}}, "seed"),
    ("fastapi", {"detail": [EXTRA]}, "seed"),
    ("fastapi plain", {"detail": "Unsupported parameter: seed"}, "seed"),
    ("mistral", {"object": "error", "message": {"detail": [EXTRA]}, "type": "invalid_request_error"}, "seed"),
    ("ollama", {"error": 'json: unknown field "seed"'}, "seed"),
    (
        "llama.cpp",
        {"error": {"code": 400, "message": "Unsupported param: seed"}},
        "seed",
    ),
    ("lm studio", {"error": "'temperature' is not supported by this model"}, "temperature"),
    ("anthropic", {"type": "error", "error": {"message": "seed: Extra inputs are not permitted"}}, "seed"),
    ("anthropic old", {"error": {"message": "`temperature` is deprecated for this model."}}, "temperature"),
    (
        "gemini",
        [{"error": {"message": 'Invalid payload. Unknown name "seed": Cannot find field.'}}],
        "seed",
    ),
    ("serde", {"error": {"message": "unknown field `seed`, expected one of `model`, `temperature`"}}, "seed"),
    ("groq", {"error": {"message": "property 'seed' is unsupported"}}, "seed"),
    ("nested", openai_error("Unknown parameter", "chat_template_kwargs.enable_thinking"), "chat_template_kwargs"),
    ("plain text", "Bad Request: field seed is not allowed", "seed"),
    ("no stream", openai_error("Streaming is not supported.", "stream", "unsupported_value"), "stream"),
]


@pytest.mark.parametrize(("body", "field"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])
def test_the_refused_field_is_found_in_every_form(body, field):
    assert refused_field(body if isinstance(body, str) else json.dumps(body), SENT) == field


NOT_OF_A_FIELD = [
    openai_error("This model's maximum context length is 4096 tokens. However, you requested 5000.", "messages"),
    openai_error("max_tokens is too large: 5000. This model supports at most 4096 completion tokens.", "max_tokens"),
    {"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "invalid", "input": "the 'temperature' outside"}]},
    {"message": "[{'loc': ('body', 'messages', 1), 'msg': 'invalid', 'input': {'temperature': 3, 'seed': 1}}]"},
    {"error": "The temperature of the machine rose"},
    {"error": {"message": "Invalid request: failed to read the input stream"}},
    {"error": {"message": "model not loaded", "param": "model"}},
    [],
    None,
    "[" * 50_000,
    "",
]


@pytest.mark.parametrize("body", NOT_OF_A_FIELD, ids=range(len(NOT_OF_A_FIELD)))
def test_a_refusal_for_another_reason_costs_no_field(body):
    assert refused_field(body if isinstance(body, str) else json.dumps(body), SENT) is None


def refusing(forbidden, form):
    """Refuses a body by the first of its fields that is forbidden."""

    def refusal(body):
        found = [name for name in forbidden if name in body]
        return (400, form(found[0])) if found else None

    return refusal


def test_the_limit_is_sent_by_its_other_name(server, generator, capsys):
    server.refusal = refusing(
        ["max_tokens"], lambda name: openai_error(USE_INSTEAD.format(name, "max_completion_tokens"), name)
    )
    assert generator.generate([ASK]) == ["HI"]
    first, second = server.requests
    assert (first["max_tokens"], second["max_completion_tokens"]) == (7, 7)
    assert "max_tokens" not in second
    server.requests.clear()
    assert "".join(generator.stream(ASK)).strip() == "HI"
    assert len(server.requests) == 1  # it is remembered, for streams too
    assert capsys.readouterr().err.count("max_completion_tokens") == 1


def test_a_name_that_the_refusal_gives_is_taken_before_the_usual_one(server, generator):
    server.refusal = refusing(["max_tokens"], lambda name: {"error": f"unknown field {name}, use max_new_tokens"})
    assert generator.generate([ASK]) == ["HI"]
    assert server.requests[-1]["max_new_tokens"] == 7


def test_everything_beside_model_and_messages_can_be_refused(server, generator):
    both = ["max_tokens", "max_completion_tokens", "temperature", "seed", "chat_template_kwargs", "stream"]
    server.refusal = refusing(both, lambda name: openai_error(f"Unsupported parameter: '{name}'", name))
    assert "".join(generator.stream(ASK)).strip() == "HI"
    assert set(server.requests[-1]) == {"model", "messages"}
    assert len(server.requests) == len(both) + 1
    server.requests.clear()
    assert generator.generate([ASK, ASK]) == ["HI", "HI"]
    assert len(server.requests) == 2


def test_two_names_that_each_point_to_the_other_are_both_left_out(server, generator):
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
    server.refusal = refusing(list(other), lambda name: openai_error(USE_INSTEAD.format(name, other[name]), name))
    assert generator.generate([ASK]) == ["HI"]
    assert len(server.requests) == 3


def test_many_requests_at_once_learn_it_once(server, generator, capsys):
    server.delay_seconds = 0.05  # each of the first is on its way before any is refused
    server.refusal = refusing(["seed", "temperature"], lambda name: {"detail": [{**EXTRA, "loc": ["body", name]}]})
    assert generator.generate([ASK] * 8) == ["HI"] * 8
    assert "max_tokens" in server.requests[-1]
    assert capsys.readouterr().err.count("refused a request") == 2
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: generator.generate([ASK]), range(4))) == [["HI"]] * 4


def test_a_server_that_always_names_something_is_given_up(server, generator):
    server.refusal = lambda body: (400, openai_error("Unknown parameter", next(iter(body))))
    with pytest.raises(GenerationError, match="failed"):
        generator.generate([ASK])
    assert len(server.requests) < 10


def test_a_field_is_not_given_up_for_an_error_of_the_server(server, generator):
    server.refusal = lambda body: (500, openai_error("the seed service is not supported today", "seed"))
    with pytest.raises(GenerationError):
        generator.generate([ASK])
    server.refusal = lambda body: None
    assert generator.generate([ASK]) == ["HI"]
    assert "seed" in server.requests[-1]


NO_SYSTEM = [
    "System role not supported",
    "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    "Only user and assistant roles are supported!",
    "'system' role is not supported",
    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter',
    "Developer instruction is not enabled for models/gemma-3-1b-it",
    "This model does not support system messages.",
]


@pytest.mark.parametrize("message", NO_SYSTEM)
@pytest.mark.parametrize("status", [400, 422, 500])
def test_where_no_system_message_is_taken_it_goes_along_with_the_question(server, generator, message, status):
    def refusal(body):
        return (status, openai_error(message)) if body["messages"][0]["role"] == "system" else None

    server.refusal = refusal
    assert generator.generate([TOLD]) == ["BE BRIEF.\n\nHI"]
    server.requests.clear()
    assert "".join(generator.stream(TOLD)).startswith("BE BRIEF.")
    assert [message["role"] for request in server.requests for message in request["messages"]] == ["user"]


def test_other_words_about_a_system_are_no_refusal_of_its_role():
    for message in ("The system is not ready", "operating system error", "the system cannot find the file", "seed"):
        assert not is_against_system_role(json.dumps(openai_error(message))), message


def test_without_system_keeps_the_order_of_the_others():
    more = [{"role": "assistant", "content": "ho"}, {"role": "user", "content": "and?"}]
    assert without_system([*TOLD, *more]) == [{"role": "user", "content": "Be brief.\n\nhi"}, *more]
    assert without_system(TOLD[:1]) == [{"role": "user", "content": "Be brief."}]
    assert without_system(ASK) == ASK


def test_what_was_learnt_by_another_request_is_told_once():
    fields = ServerFields({"seed": 0})
    sent = fields.request(ASK)
    body = json.dumps(openai_error("Unknown parameter: 'seed'.", "seed"))
    assert "seed" in fields.learn(400, body, sent)
    assert fields.learn(400, body, sent) == ""
    assert fields.learn(400, body, fields.request(ASK)) is None


@pytest.mark.parametrize("reply", [{"error": {"message": "out of credits"}}, {"choices": []}, {}])
def test_a_reply_without_an_answer_becomes_a_sentence(server, generator, reply):
    server.refusal = lambda body: (200, reply)
    with pytest.raises(GenerationError, match="sent no answer"):
        generator.generate([ASK])
