"""What clients send beside a question: read where it can be, noted where it is not, refused in OpenAI's form."""

import json

import openai
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve import api_answer
from rag.serve.api import make_router
from rag.serve.api_errors import ApiError
from rag.serve.api_request import read_request
from rag.serve.chat import Chat
from rag.serve.turns import Options
from rag.serve.users import RateLimit, Users, bearer_key
from tests.fakes.pipelines import Echo

QUESTION = "who designed the amber line"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": QUESTION}
ASK = [{"role": "user", "content": QUESTION}]
COLLECTIONS = {"manuals": [], "old/manuals": []}


@pytest.fixture
def client_over(passages):
    def make(*, users=None, per_minute=0, generator=None, collections=dict):
        searched = []

        def narrow(kind, collections, attached):
            searched.append(collections)
            return chat.retrievers[kind]

        chat = Chat(
            {"bm25": Lazy.of(BM25Retriever(Corpus(passages)))},
            Lazy.of(KeepOrder()),
            Lazy.of(generator or Echo()),
            get_prompt("cited-v1"),
            lambda strictness: None,
            narrow=narrow,
        )
        app = FastAPI()
        options = Options("bm25", Depths(10, 10, 2))
        limit = RateLimit(per_minute)
        app.include_router(make_router(chat, options, users=users, limit=limit, collections=collections))
        client = TestClient(app, raise_server_exceptions=True)
        client.searched = searched
        return client

    return make


@pytest.fixture
def client(client_over):
    return client_over()


def post(client, messages=ASK, **fields):
    return client.post("/v1/chat/completions", json={"messages": messages, **fields})


def error_of(reply, status):
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error"]
    error = reply.json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert all(isinstance(error[name], str) and error[name] for name in ("message", "type", "code"))
    return error


def answer_of(reply):
    assert reply.status_code == 200, reply.text
    choice = reply.json()["choices"][0]
    assert choice["message"]["content"].startswith("Amber Line [1]")
    return reply.json()


def test_an_image_in_an_earlier_turn_refuses_no_later_question(client):
    earlier = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "what is this"}]}]
    earlier.append({"role": "assistant", "content": "A tram."})
    answer = answer_of(post(client, [*earlier, *ASK]))
    assert answer["notes"] == ["ignored: a content part of the type 'image_url'"]
    assert answer["choices"][0]["message"]["notes"] == answer["notes"]


@pytest.mark.parametrize(
    "part",
    [
        IMAGE,
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "refusal", "refusal": "no"},
        {"type": "video_url", "video_url": {"url": "x"}},
        {"type": "text"},
        {"type": "text", "text": None},
        {"type": "text", "text": 3},
        {"type": ["text"], "text": "x"},
        {},
        None,
        7,
        [[]],
    ],
    ids=str,
)
def test_a_part_that_is_no_text_is_left_out_with_a_note(client, part):
    answer = answer_of(post(client, [{"role": "user", "content": [part, TEXT, part]}]))
    assert len(answer["notes"]) == 1
    assert answer["notes"][0].endswith("(2 times)")
    # Alone it is no question, and the error says so.
    error = error_of(
        post(client, [*ASK, {"role": "assistant", "content": "x"}, {"role": "user", "content": [part]}]), 400
    )
    assert "question" in error["message"]
    assert error["param"] == "messages[2].content"


@pytest.mark.parametrize(
    "part", [QUESTION, {"type": "input_text", "text": QUESTION}, {"type": None, "text": QUESTION}, {"text": QUESTION}]
)
def test_text_is_text_in_whatever_part(client, part):
    assert answer_of(post(client, [{"role": "user", "content": [part]}]))["notes"] == []


NULLS = (
    "stream stream_options tools tool_choice functions function_call response_format n stop seed logprobs user model"
)
NULLS += " top_logprobs modalities audio metadata store max_tokens max_completion_tokens temperature top_p collections"
NULLS += " logit_bias parallel_tool_calls prediction reasoning_effort service_tier web_search_options"


def test_a_null_is_as_if_the_field_were_not_there(client):
    nulls = dict.fromkeys(NULLS.split())
    odd = {"name": None, "tool_calls": None, "refusal": None, "audio": None, "function_call": None}
    messages = [{"role": "assistant", "content": None, **odd}, {"role": "user", "content": QUESTION, **odd}]
    assert answer_of(post(client, messages, **nulls))["notes"] == []
    assert answer_of(post(client, stream=False, stream_options={"include_usage": None}))["notes"] == []


def test_what_is_not_used_is_named(client):
    messages = [{"role": "system", "content": "Say hello."}, {"role": "critic", "content": "x"}, *ASK]
    messages.append({"role": "system", "content": "Be brief."})
    answer = answer_of(
        post(client, messages, temperature=0.7, tools=[{"type": "function"}], tool_choice="auto", my_own=1)
    )
    assert answer["notes"] == [
        "ignored: a message of the unknown role 'critic'",
        "ignored: messages of the role 'system'; the prompt is this server's own",
        "not used: 'my_own', 'temperature', 'tools'",
    ]


def test_notes_stay_short_whatever_is_sent(client):
    parts = [{"type": f"{n}" * 1000} for n in range(300)]
    notes = answer_of(post(client, [{"role": "user", "content": [*parts, TEXT]}], **{f"x{n}": 1 for n in range(300)}))[
        "notes"
    ]
    assert len("".join(notes)) < 4000
    assert notes[-1].endswith("and 280 more")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"n": "1"}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"model": 7}, "model"),
        ({"collections": "manuals"}, "collections"),
        ({"collections": []}, "collections"),
        ({"collections": [7]}, "collections[0]"),
        ({"messages": None}, "messages"),
        ({"messages": "who?"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [QUESTION]}, "messages[0]"),
        ({"messages": [{"content": QUESTION}]}, "messages[0].role"),
        ({"messages": [{"role": 3, "content": QUESTION}]}, "messages[0].role"),
        ({"messages": [{"role": "User", "content": QUESTION}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": {"text": "x"}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
    ],
    ids=str,
)
def test_what_cannot_be_done_names_the_field(client, fields, param):
    assert error_of(client.post("/v1/chat/completions", json={"messages": ASK, **fields}), 400)["param"] == param


@pytest.mark.parametrize(
    "fields", [{"n": 1}, {"logprobs": False}, {"response_format": {"type": "text"}}, {"modalities": ["text"]}]
)
def test_what_asks_for_the_usual_is_no_reason_for_a_note(client, fields):
    assert answer_of(post(client, **fields))["notes"] == []


BODIES = {
    "nothing": b"",
    "half": b'{"messages": [',
    "array": b"[]",
    "text": b'"x"',
    "null": b"null",
    "not UTF-8": b'{"messages": "\xff"}',
    "UTF-16": '{"messages": []}'.encode("utf-16"),
    "NaN": b'{"messages": [], "temperature": NaN}',
    "-Infinity": b'{"messages": [], "temperature": -Infinity}',
    "twice": b'{"messages": [], "messages": []}',
    "twice within": b'{"messages": [{"role": "user", "role": "system"}]}',
    "deep": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "half a pair": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "half a pair as a key": b'{"\\udfff": 1, "messages": []}',
    "digits": b'{"messages": ' + b"9" * 10_000 + b"}",
    "control character": b'{"messages": "\x01"}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_sound_json_is_an_error_of_the_known_form(client, name):
    error = error_of(client.post("/v1/chat/completions", content=BODIES[name]), 400)
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) < 400


def test_whole_surrogate_pairs_escapes_and_a_byte_order_mark_are_text(client):
    body = json.dumps({"messages": [{"role": "user", "content": QUESTION + " \U0001f68b \\ud800"}]}).encode()
    assert b"\\ud83d\\ude8b" in body
    answer_of(client.post("/v1/chat/completions", content=b"\xef\xbb\xbf" + body))


def test_the_media_type_is_json(client):
    for media_type in ("application/json", "application/json; charset=utf-8", "Application/JSON", "application/x+json"):
        reply = client.post("/v1/chat/completions", json={"messages": ASK}, headers={"Content-Type": media_type})
        answer_of(reply)
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"):
        reply = client.post("/v1/chat/completions", json={"messages": ASK}, headers={"Content-Type": media_type})
        assert error_of(reply, 415)["code"] == "unsupported_media_type"
    reply = client.post("/v1/chat/completions", json={"messages": ASK}, headers={"Content-Encoding": "gzip"})
    error_of(reply, 415)


def test_paths_and_methods_that_are_not_served_are_errors_of_the_known_form(client):
    for path in (
        "/v1",
        "/v1/",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/responses",
        "/v1/chat",
        "/v1/files",
        "/v1/a/b",
    ):
        for method in ("GET", "POST", "DELETE", "PATCH"):
            assert error_of(client.request(method, path), 404)["code"] == "unknown_url"
    for method, path in (("GET", "/v1/chat/completions"), ("POST", "/v1/models"), ("PUT", "/v1/models/rag")):
        reply = client.request(method, path)
        assert error_of(reply, 405)["code"] == "method_not_allowed"
        assert reply.headers["Allow"]
    assert client.request("BREW", "/v1/models").status_code == 405
    assert client.get("/v1/models/").json() == client.get("/v1/models").json()


def test_models_one_by_one(client_over):
    client = client_over(collections=lambda: COLLECTIONS)
    ids = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert ids == ["rag", "rag/manuals", "rag/old/manuals"]
    for name in ids:
        assert client.get(f"/v1/models/{name}").json()["id"] == name
    assert client.get("/v1/models/rag%2Fmanuals").json()["id"] == "rag/manuals"
    for name in ("gpt-4o", "rag/other", "RAG", "rag/", "x" * 500):
        error = error_of(client.get(f"/v1/models/{name}"), 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "'rag'" in error["message"]


def test_collections_are_searched_by_the_field_or_by_the_model(client_over):
    client = client_over(collections=lambda: COLLECTIONS)
    answer_of(post(client))
    assert client.searched == []
    answer_of(post(client, collections=["old/manuals", "manuals", "manuals"]))
    assert answer_of(post(client, model="rag/old/manuals"))["model"] == "rag/old/manuals"
    answer_of(post(client, model="rag/manuals", collections=["manuals"]))
    assert client.searched == [("old/manuals", "manuals"), ("old/manuals",), ("manuals",)]
    error = error_of(post(client, collections=["manuals", "poems"]), 404)
    assert error["code"] == "collection_not_found"
    assert all(name in error["message"] for name in ("'poems'", "'manuals'", "'old/manuals'"))
    error_of(post(client, model="rag/poems"), 404)
    error_of(post(client, model="rag/manuals", collections=["old/manuals"]), 400)


def test_a_key_is_known_behind_bearer_in_any_case(client_over, tmp_path):
    users = Users(tmp_path / "users.json")
    key = users.add("ada", "correct horse")
    client = client_over(users=users)
    for header in (f"Bearer {key}", f"bearer {key}", f"BEARER   {key}  ", f"bEaReR\t{key}", key):
        assert client.get("/v1/models", headers={"Authorization": header}).status_code == 200, header
    for header in ("", "Bearer", f"Basic {key}", f"Bearer {key} x", f"Bearer{key}", f"Bearer Bearer {key}"):
        for path in ("/v1/models", "/v1/models/rag"):
            reply = client.get(path, headers={"Authorization": header})
            assert error_of(reply, 401)["code"] == "invalid_api_key"
            assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert bearer_key("") == bearer_key("Bearer ") == ""


def test_when_to_ask_again_is_said(client_over):
    client = client_over(per_minute=1)
    answer_of(post(client))
    reply = post(client)
    error = error_of(reply, 429)
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert 50 <= int(reply.headers["Retry-After"]) <= 60


def test_a_question_that_is_refused_or_a_failure_nobody_foresaw_keeps_the_form(client_over, monkeypatch, caplog):
    client = client_over()
    for stream in (False, True):  # before anything is sent, a stream has a status too
        error = error_of(post(client, [{"role": "user", "content": "amber " * 2000}], stream=stream), 400)
        assert error["param"] == "messages"
    monkeypatch.setattr(api_answer, "_content", lambda turn: 1 / 0)
    assert error_of(post(client), 500)["type"] == "server_error"
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    for _ in range(10):  # no place is lost by any of them
        answer_of(post(client))


def frames_of(reply):
    events = [event for event in reply.text.split("\n\n") if event.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def test_a_stream_has_the_frames_that_clients_know(client):
    reply = post(client, temperature=0, stream=True, stream_options={"include_usage": True})
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    first, *_, finish, usage = frames_of(reply)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [frame["usage"] for frame in (first, finish)] == [None, None]
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert finish["notes"] == ["not used: 'temperature'"]
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + usage["usage"]["completion_tokens"]
    without = frames_of(post(client, stream=True))
    assert all("usage" not in frame for frame in without)
    assert {(frame["id"], frame["object"]) for frame in without} == {(without[0]["id"], "chat.completion.chunk")}


class Breaking(Echo):
    def stream(self, conversation):
        yield "The amber line was designed by somebody whom the passages name, and it "
        raise RuntimeError("half a sentence")


def test_an_error_in_the_middle_of_a_stream_has_the_known_form(client_over):
    *_, last = frames_of(post(client_over(generator=Breaking()), stream=True))
    assert sorted(last["error"]) == ["code", "message", "param", "type"]
    assert last["error"]["type"] == "server_error"


def test_a_silent_stream_says_that_it_goes_on(client, monkeypatch):
    monkeypatch.setattr(api_answer, "SILENT_SECONDS", 0.0)
    reply = post(client, stream=True)
    assert ": still working" in reply.text
    assert "".join(frame["choices"][0]["delta"].get("content", "") for frame in frames_of(reply)).startswith(
        "Amber Line"
    )


def test_openai_client_reads_notes_and_errors(client):
    there = openai.OpenAI(base_url="http://testserver/v1", api_key="x", max_retries=0, http_client=client)
    reply = there.chat.completions.create(model="rag", messages=ASK, temperature=0.5)
    assert reply.model_extra["notes"] == ["not used: 'temperature'"]
    assert there.models.retrieve("rag").id == "rag"
    with pytest.raises(openai.NotFoundError) as caught:
        there.models.retrieve("gpt-4o")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError) as caught:
        there.embeddings.create(model="rag", input="x")
    assert caught.value.code == "unknown_url"


def test_only_the_last_turns_are_read_and_each_is_checked():
    many = [{"role": role, "content": "x"} for _ in range(500) for role in ("user", "assistant")]
    request = read_request({"messages": [*many, *ASK]})
    assert (request.question, len(request.turns), request.stream) == (QUESTION, 49, False)
    with pytest.raises(ApiError, match=r"messages\[0\]"):
        read_request({"messages": [3, *many, *ASK]})
