"""OpenAI's own client against our routes, over a real HTTP server."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from rag.data.passages import Corpus
from rag.errors import GenerationError
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.api import MAX_AT_ONCE, MODEL, _surely, make_router
from rag.serve.chat import Chat
from rag.serve.turns import Options
from rag.serve.users import RateLimit, Users
from tests.fakes.pipelines import Echo


class Rewriting(Echo):
    """Remembers what it was asked; takes a follow-up for a question about Clara Voss; fails where it is told to."""

    def __init__(self):
        super().__init__()
        self.rewrites = []

    def generate(self, conversations):
        text = conversations[0][-1]["content"]
        if "Rewrite" in text:
            self.rewrites.append(text)
            return ["who designed the amber line"]
        return super().generate(conversations)

    def stream(self, conversation):
        if "please fail" in conversation[-1]["content"]:
            raise GenerationError("the model is out")
        yield from super().stream(conversation)


@pytest.fixture(scope="module")
def generator():
    return Rewriting()


@pytest.fixture(scope="module")
def app_over(passages, generator):
    """An application of the routes over the test passages."""

    def make(*, users=None, per_minute=0, threshold=None, generator=generator):
        chat = Chat(
            {"bm25": Lazy.of(BM25Retriever(Corpus(passages)))},
            Lazy.of(KeepOrder()),
            Lazy.of(generator),
            get_prompt("cited-v1"),
            lambda strictness: threshold,
        )
        app = FastAPI()
        options = Options("bm25", Depths(10, 10, 2))
        app.include_router(make_router(chat, options, users=users, limit=RateLimit(per_minute)))
        return app

    return make


@pytest.fixture(scope="module")
def serve(app_over):
    """Serve the routes over the test passages; returns the address."""
    servers = []

    def start(**options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app_over(**options), port=port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        servers.append((server, thread))
        return f"http://127.0.0.1:{port}/v1"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def address(serve):
    return serve()


def client_of(address, key="none", retries=0):
    return openai.OpenAI(base_url=address, api_key=key, max_retries=retries, http_client=httpx.Client(trust_env=False))


def ask(client, *texts, **options):
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return client.chat.completions.create(model=MODEL, messages=messages, **options)


def test_models_are_listed(address):
    assert [model.id for model in client_of(address).models.list()] == [MODEL]


def test_an_answer_carries_its_citations_in_the_text_and_beside_it(address):
    reply = ask(client_of(address), "who designed the amber line")
    message = reply.choices[0].message
    assert message.content == "Amber Line [1]\n\nSources:\n[1] Amber Line: doc_0@0"
    (citation,) = message.model_extra["citations"]
    assert (citation["number"], citation["id"], citation["source"]) == (1, "doc_0@0", "doc_0@0")
    assert "Amber Line" in citation["text"] or citation["text"]
    assert message.model_extra["abstained"] is False
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.prompt_tokens > reply.usage.completion_tokens > 0


class Saying(Rewriting):
    """Says the same to every question, in small pieces."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def stream(self, conversation):
        for start in range(0, len(self.text), 3):
            yield self.text[start : start + 3]


def streamed(app, question="who designed the amber line"):
    """(the pieces of the content, the last frame with a choice) of a streamed answer."""
    body = {"messages": [{"role": "user", "content": question}], "stream": True}
    with TestClient(app) as client:
        events = client.post("/v1/chat/completions", json=body).text.split("\n\n")
    frames = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    return [frame["choices"][0]["delta"].get("content", "") for frame in frames], frames[-1]


def test_citations_stand_at_their_places(app_over):
    app = app_over(generator=Saying("It is a line [1] of trams in the town. It was opened long ago [2], says one."))
    pieces, last = streamed(app)
    content, sources = "".join(pieces).split("\n\nSources:\n")
    assert content == "It is a line [1] of trams in the town. It was opened long ago [2], says one."
    assert [line[:3] for line in sources.splitlines()] == ["[1]", "[2]"]
    assert [citation["number"] for citation in last["citations"]] == [1, 2]


LONG = (
    'The town\'s "amber" line carries trams [1]. It was opened long ago, as one of them says [2][1].\n\n'
    "- It doesn't stop at the harbour [2].\n- A tram leaves every ten minutes, and the last one at night, says one."
)


def test_a_long_answer_with_citations_is_sent_as_it_is_written(app_over):
    pieces, _ = streamed(app_over(generator=Saying(LONG)))
    assert "".join(pieces).split("\n\nSources:\n")[0] == LONG.replace("[2][1]", "[2] [1]")
    # What is kept back to the end is little: the last words, in which a refusal may stand, and the sources.
    before_the_end = "".join(pieces[:-2])
    assert len(before_the_end) > len(LONG) - 40
    assert "harbour [2]" in before_the_end
    assert len(pieces) > 20


def test_the_mark_of_an_answer_that_a_passage_holds_waits_for_its_end(app_over):
    # The first passage holds every word of it: that one is cited in the end, and not the second.
    copied = "The Amber Line opened in 1931 [2]. It was designed by Clara Voss and is 14 km long."
    pieces, last = streamed(app_over(generator=Saying(copied)))
    content = "".join(pieces)
    assert content.count("The Amber Line opened in 1931. It was designed by Clara Voss and is 14 km long") == 1
    assert "[2]" not in content
    assert [citation["number"] for citation in last["citations"]] == [1]


def test_what_is_babbled_behind_an_answer_is_never_sent(app_over):
    answer = "The amber line carries trams through the whole of the town."
    for babble in (
        "\n\nQ: And the red line, is there one?\nA: Yes.",
        "\n\nQ2: And?",
        "\nuser\nAnd now?\nassistant\nNo.",
    ):
        pieces, _ = streamed(app_over(generator=Saying(answer + babble)))
        assert "".join(pieces).split("\n\nSources:\n")[0] == answer


def test_a_refusal_in_other_words_is_never_sent_as_an_answer(app_over):
    pieces, last = streamed(app_over(generator=Saying("The passages do not contain the answer to this question.")))
    assert "".join(pieces) == "Not in these documents."
    assert last["abstained"] is True


def test_a_stream_adds_up_to_the_same(address):
    client = client_of(address)
    chunks = list(ask(client, "who designed the amber line", stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == ask(client, "who designed the amber line").choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra["citations"][0]["id"] == "doc_0@0"
    assert chunks[0].choices[0].delta.role == "assistant"
    *_, last = ask(client, "who designed the amber line", stream=True, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage.prompt_tokens > 0


def test_earlier_turns_are_what_a_question_follows_up_on(address, generator):
    generator.rewrites.clear()
    reply = ask(client_of(address), "what is the amber line", "A line. [1]\n\nSources:\n[1] x: y", "who designed it?")
    assert reply.choices[0].message.content.startswith("Amber Line [1]")
    (seen,) = generator.rewrites
    assert "what is the amber line" in seen
    assert "Sources" not in seen


def test_a_refusal_is_a_sentence_and_a_flag(serve):
    message = ask(client_of(serve(threshold=1e9)), "who designed the amber line").choices[0].message
    assert message.content == "Not in these documents."
    assert message.model_extra["abstained"] is True
    assert message.model_extra["citations"] == []


def test_what_cannot_be_answered_is_an_error_of_the_kind_that_clients_know(address):
    client = client_of(address)
    with pytest.raises(openai.NotFoundError, match="no model"):
        client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "who?"}])
    for messages in ([], [{"role": "user", "content": " "}], [{"role": "assistant", "content": "x"}], [{"role": "x"}]):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=MODEL, messages=messages)
    with pytest.raises(openai.InternalServerError, match="the model is out"):
        ask(client, "amber line please fail")
    with pytest.raises(openai.APIError, match="the model is out"):
        list(ask(client, "amber line please fail", stream=True))
    with pytest.raises(openai.BadRequestError, match="longer than"):
        ask(client, "amber " * 2000)
    for body, status in (("{", 400), ("x" * 2_000_000, 413)):
        reply = httpx.post(f"{address}/chat/completions", content=body, trust_env=False)
        assert (reply.status_code, list(reply.json())) == (status, ["error"])


def test_parts_of_text_and_parameters_that_are_not_used_are_accepted(address):
    reply = client_of(address).chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Say only hello."},
            {"role": "user", "content": [{"type": "text", "text": "who designed the amber line"}]},
        ],
        temperature=0.7,
        max_tokens=5,
    )
    assert reply.choices[0].message.content.startswith("Amber Line [1]")


def test_with_users_a_key_is_needed(serve, tmp_path):
    users = Users(tmp_path / "users.json")
    key = users.add("ada", "correct horse")
    address = serve(users=users)
    for wrong in ("none", key + "x"):
        with pytest.raises(openai.AuthenticationError):
            ask(client_of(address, wrong), "who designed the amber line")
        with pytest.raises(openai.AuthenticationError):
            client_of(address, wrong).models.list()
    assert ask(client_of(address, key), "who designed the amber line").choices[0].message.content


def test_too_many_questions_wait(serve):
    client = client_of(serve(per_minute=2))
    for _ in range(2):
        ask(client, "who designed the amber line")
    with pytest.raises(openai.RateLimitError, match="try again in"):
        ask(client, "who designed the amber line")


def test_twenty_at_once_get_each_their_own_answer(address, passages):
    questions = [passages[n % len(passages)] for n in range(20)]
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda p: ask(client_of(address, retries=20), f"{p.title} {p.text}"), questions))
    for passage, reply in zip(questions, replies, strict=True):
        assert reply.choices[0].message.content.startswith(passage.title)


def test_when_all_places_are_taken_the_next_is_told_at_once(serve, generator, monkeypatch):
    started, go_on = threading.Semaphore(0), threading.Event()

    def slow(self, conversation):
        started.release()
        go_on.wait(30)
        yield from Echo.stream(self, conversation)

    monkeypatch.setattr(Rewriting, "stream", slow)
    address = serve()
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        waiting = [pool.submit(ask, client_of(address), "who designed the amber line") for _ in range(MAX_AT_ONCE)]
        for _ in range(MAX_AT_ONCE):
            started.acquire()
        with pytest.raises(openai.InternalServerError, match="try again"):
            ask(client_of(address), "who designed the amber line")
        go_on.set()
        assert all(future.result().choices for future in waiting)


def test_who_goes_before_the_first_piece_takes_no_place(app_over):
    app = app_over()
    body = json.dumps({"messages": [{"role": "user", "content": "amber line"}], "stream": True}).encode()
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "POST", "path": "/v1/chat/completions"}
    scope |= {"query_string": b"", "headers": [], "client": ("127.0.0.1", 1), "http_version": "1.1", "scheme": "http"}

    async def receive():
        return {"type": "http.request", "body": body}

    async def gone(message):
        raise OSError("the client is gone")

    for _ in range(MAX_AT_ONCE):
        with pytest.raises(ClientDisconnect):
            asyncio.run(app(scope, receive, gone))
    with TestClient(app) as client:
        for _ in range(MAX_AT_ONCE + 1):
            assert client.post("/v1/chat/completions", content=body).status_code == 200


def test_only_what_the_parser_leaves_alone_is_sent_early():
    text = "The ferry leaves at seven in the evening and costs nine crowns."
    assert text.startswith(_surely(text))
    assert 10 < len(_surely(text)) <= len(text) - 24
    for risky in (
        "CANNOTANSWER because of this and that and more",
        "Answer: seven in the evening and later",
        "<think>x",
    ):
        assert _surely(risky) == ""
    assert _surely("The ferry leaves [1] at seven in the evening, as ever") == "The ferry leaves "
