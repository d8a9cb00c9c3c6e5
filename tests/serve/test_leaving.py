"""Whoever leaves frees the generator and their place, whenever they leave, by whatever way they asked."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from gradio_client import Client
from starlette.middleware import Middleware

from rag.data.passages import Corpus
from rag.errors import Left
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.api import MAX_AT_ONCE, MODEL, make_router
from rag.serve.api_errors import _KnownErrors
from rag.serve.chat import Chat
from rag.serve.ending import end
from rag.serve.page import Page
from rag.serve.turns import Options
from rag.serve.users import RateLimit
from rag.serve.visitors import NoticeLeaving
from tests.fakes.pages import make_parts
from tests.fakes.writers import Writer, eventually

OPTIONS = Options("bm25", Depths(10, 10, 2))


class Gate:
    """A part that works only once it is let go; remembers who came."""

    def __init__(self, part):
        self._part, self.came, self.go_on = part, threading.Semaphore(0), threading.Event()

    def __getattr__(self, name):
        work = getattr(self._part, name)

        def call(*arguments, **options):
            self.came.release()
            assert self.go_on.wait(120)
            return work(*arguments, **options)

        return call


class OnlyRetrieves:
    def __init__(self, corpus):
        self._retriever = BM25Retriever(corpus)

    def retrieve(self, queries, k):
        return self._retriever.retrieve(queries, k)


@pytest.fixture
def make_chat(passages):
    def make(generator, *, retriever=None, reranker=None, **options):
        return Chat(
            {"bm25": Lazy.of(retriever or OnlyRetrieves(Corpus(passages)))},
            Lazy.of(reranker or KeepOrder()),
            Lazy.of(generator),
            get_prompt("cited-v1"),
            lambda strictness: None,
            **options,
        )

    return make


@pytest.fixture
def serve():
    """Serve the API of a chat; returns its port."""
    servers = []

    def start(chat):
        app = FastAPI()
        app.include_router(make_router(chat, OPTIONS, users=None, limit=RateLimit(0)))
        server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        assert eventually(lambda: server.started)
        servers.append((server, thread))
        return server.config.port

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Asker:
    """A client of the API that has asked, and may leave."""

    def __init__(self, port, question, *, stream):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(120)
        asked = {"model": MODEL, "messages": [{"role": "user", "content": question}], "stream": stream}
        body = json.dumps(asked).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def leave(self):
        self._socket.close()

    def next(self):
        """The next piece that comes."""
        return self._socket.recv(2**16).decode()

    def answer(self):
        """Everything that comes, until the server has sent all."""
        said = b""
        while b"[DONE]" not in said and not said.endswith(b"}"):
            said += self._socket.recv(2**16)
        return said.decode()


def answers(port, n=1):
    """The statuses of so many questions at once, which the generator answers at once."""

    def ask(_):
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "who designed the amber line"}]}
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        return httpx.post(url, json=asked, timeout=60, trust_env=False).status_code

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(ask, range(n)))


both_ways = pytest.mark.parametrize("stream", [True, False])


@both_ways
def test_who_leaves_in_the_middle_of_an_answer_frees_the_generator(make_chat, serve, stream):
    generator = Writer()
    port = serve(make_chat(generator))
    for n in range(MAX_AT_ONCE + 1):
        client = Asker(port, "when does the ferry leave", stream=stream)
        assert eventually(lambda n=n: len(generator.begun) == n + 1)
        client.leave()
        assert eventually(lambda: generator.writing == 0)
    assert answers(port) == [200]


@both_ways
def test_who_leaves_while_others_are_served_never_starts(make_chat, serve, stream):
    generator = Writer()
    chat = make_chat(generator)
    port = serve(chat)
    first = Asker(port, "when does the ferry leave", stream=True)
    assert eventually(lambda: generator.writing == 1)
    second = Asker(port, "what does the ferry cost", stream=stream)
    assert eventually(lambda: chat.n_waiting == 2)
    third = Asker(port, "who designed the amber line", stream=False)
    assert eventually(lambda: chat.n_waiting == 3)
    second.leave()
    assert eventually(lambda: chat.n_waiting == 2)
    assert generator.writing == 1  # the first one is still served
    first.leave()
    assert "200 OK" in third.answer()
    assert [question.split()[-1] for question in generator.begun] == ["leave", "line"]
    assert eventually(lambda: chat.n_waiting == 0)


@both_ways
def test_when_all_leave_at_once_as_many_others_are_served(make_chat, serve, stream):
    generator = Writer(many=True)
    chat = make_chat(generator)
    port = serve(chat)
    for _ in range(3):
        clients = [Asker(port, "when does the ferry leave", stream=stream) for _ in range(MAX_AT_ONCE)]
        assert eventually(lambda: generator.writing == MAX_AT_ONCE)
        assert answers(port) == [503]
        for client in clients:
            client.leave()
        assert eventually(lambda: generator.writing == 0 and chat.n_waiting == 0)
    assert answers(port, MAX_AT_ONCE) == [200] * MAX_AT_ONCE


@both_ways
@pytest.mark.parametrize("step", ["retriever", "reranker"])
def test_who_leaves_before_anything_is_written_never_starts(make_chat, serve, passages, step, stream):
    generator = Writer(many=True)
    gate = Gate({"retriever": OnlyRetrieves(Corpus(passages)), "reranker": KeepOrder()}[step])
    chat = make_chat(generator, **{step: gate})
    port = serve(chat)
    clients = [Asker(port, "when does the ferry leave", stream=stream) for _ in range(MAX_AT_ONCE)]
    for _ in clients:
        assert gate.came.acquire(timeout=120)
    for client in clients:
        client.leave()
    time.sleep(0.1)  # the server notices
    gate.go_on.set()
    assert eventually(lambda: chat.n_waiting == 0)
    assert generator.begun == []
    assert answers(port, MAX_AT_ONCE) == [200] * MAX_AT_ONCE


@both_ways
def test_who_leaves_behind_the_last_token_costs_no_place(make_chat, serve, stream):
    generator, gate = Writer(many=True), Gate(KeepOrder())
    chat = make_chat(generator, reranker=gate, checks_support=True)
    port = serve(chat)
    gate.go_on.set()
    assert answers(port) == [200]
    for _ in range(MAX_AT_ONCE + 1):
        gate.go_on.clear()
        while gate.came.acquire(blocking=False):
            pass
        n = len(generator.begun)
        client = Asker(port, "who designed the amber line", stream=stream)
        assert gate.came.acquire(timeout=120)
        gate.go_on.set()
        assert eventually(lambda n=n: len(generator.begun) == n + 1)
        client.leave()
        assert eventually(lambda: chat.n_waiting == 0)
    assert answers(port, MAX_AT_ONCE) == [200] * MAX_AT_ONCE


@both_ways
def test_a_generator_that_fails_costs_no_place(make_chat, serve, stream):
    generator = Writer(many=True)
    generator.fails = True
    chat = make_chat(generator)
    port = serve(chat)
    for _ in range(MAX_AT_ONCE + 1):
        assert "the model is out" in Asker(port, "who designed the amber line", stream=stream).answer()
    generator.fails = False
    assert eventually(lambda: chat.n_waiting == 0)
    assert answers(port, MAX_AT_ONCE) == [200] * MAX_AT_ONCE


def test_who_goes_before_the_question_is_whole_costs_no_place(make_chat, serve):
    port = serve(make_chat(Writer(many=True)))
    for _ in range(MAX_AT_ONCE + 1):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert answers(port, MAX_AT_ONCE) == [200] * MAX_AT_ONCE


def test_an_answer_that_nobody_begins_to_read_holds_nothing(make_chat):
    generator = Writer()
    chat = make_chat(generator)
    unread = chat.ask("when does the ferry leave", (), OPTIONS)
    begun = chat.ask("when does the ferry leave", (), OPTIONS)
    next(begun)
    assert chat.n_waiting == 1
    begun.close()
    unread.close()
    assert (chat.n_waiting, generator.begun) == (0, [])


def test_closing_the_snapshots_stops_the_generator(make_chat):
    generator = Writer()
    growing = make_chat(generator).ask("when does the ferry leave", (), OPTIONS)
    for turn in growing:
        if turn.response and turn.response.answer:
            break
    growing.close()
    assert eventually(lambda: generator.writing == 0)


# ---------------------------------------------------------------------------------------------------- Gradio's clients


@pytest.fixture
def open_page(monkeypatch, tmp_path):
    """Open the API that Gradio's clients call, as it is served; returns its page."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    pages = []

    def start(chat):
        page = Page(make_parts(tmp_path, chat)).blocks
        beside = {"middleware": [Middleware(NoticeLeaving, chat.left)]}
        page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, server_port=free_port(), app_kwargs=beside)
        pages.append(page)
        return page

    yield start
    for page in pages:
        page.close(verbose=False)


def test_a_call_of_the_page_that_is_given_up_frees_the_generator(make_chat, open_page):
    generator = Writer()
    chat = make_chat(generator)
    address = open_page(chat).local_url + "gradio_api/call/ask"
    with httpx.Client(trust_env=False, timeout=120) as client:
        for _ in range(3):
            event = client.post(address, json={"data": ["when does the ferry leave"]}).json()["event_id"]
            with client.stream("GET", f"{address}/{event}"):
                assert eventually(lambda: generator.writing == 1)
            assert eventually(lambda: generator.writing == 0 and chat.n_waiting == 0)


def test_a_call_that_is_cancelled_frees_the_generator_and_its_neighbour_goes_on(make_chat, open_page):
    generator = Writer(many=True)
    chat = make_chat(generator)
    client = Client(open_page(chat).local_url, verbose=False)
    jobs = [client.submit("when does the ferry leave", api_name="/ask") for _ in range(2)]
    assert eventually(lambda: generator.writing == 2)
    jobs[0].cancel()
    assert eventually(lambda: generator.writing == 1)
    time.sleep(0.3)
    assert generator.writing == 1
    jobs[1].cancel()
    assert eventually(lambda: generator.writing == 0 and chat.n_waiting == 0)
    assert client.predict("who designed the amber line", api_name="/ask")["citations"]


# ------------------------------------------------------------------------------------------------- the end of the chat


def test_when_the_chat_ends_every_answer_ends_with_a_sentence(make_chat, open_page):
    generator = Writer(many=True)
    chat = make_chat(generator)
    page = open_page(chat)
    job = Client(page.local_url, verbose=False).submit("when does the ferry leave", api_name="/ask")
    growing = chat.ask("when does the ferry leave", (), OPTIONS)
    assert next(t for t in growing if t.response and t.response.answer)
    assert eventually(lambda: generator.writing == 2)
    ended = threading.Thread(target=end, args=(page, chat))
    ended.start()
    *_, last = growing
    assert last.done
    assert "The chat is ending" in last.error
    assert job.exception(timeout=120) is not None  # its client may begin to listen only when the server is gone
    ended.join(120)
    assert not ended.is_alive()
    assert (generator.writing, chat.n_waiting) == (0, 0)
    (refused,) = [turn for turn in chat.ask("who designed the amber line", (), OPTIONS) if turn.done]
    assert "The chat is ending" in refused.error


STARTED = """
import sys

from rag.cli.main import main
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.rerank.keep_order import KeepOrder
from rag.serve import start
from rag.serve.chat import Chat
from tests.fakes.pages import make_parts
from tests.fakes.writers import Writer

def make_chat(serving, retrievers, narrow):
    parts = retrievers().each(), Lazy.of(KeepOrder()), Lazy.of(Writer(many=True)), get_prompt("cited-v1")
    return Chat(*parts, lambda strictness: None)

start.make_chat = make_chat
sys.argv = ["rag", "chat", *sys.argv[1:]]
main()
"""


@pytest.fixture
def start_chat(data):
    """Start `rag chat` as a process of its own; returns it with its port."""
    settings, folder = data
    started = []

    def start():
        port = free_port()
        command = [sys.executable, "-c", STARTED, "-i", str(folder / "index"), "--port", str(port)]
        options = ["reader.enabled=false", "retriever.kind=bm25", "serving.questions_per_minute=0"]
        options += [f"encoder.model={settings.encoder.model}", f"reranker.model={settings.reranker.model}"]
        command += [part for option in options for part in ("--set", option)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert "The chat is at" in process.stdout.readline()
        return process, port

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_chat_and_every_answer_with_a_sentence(start_chat, number):
    process, port = start_chat()
    clients = [Asker(port, "when does the river ferry leave", stream=stream) for stream in (True, True, False, False)]
    for client in clients[:2]:
        while "ferry" not in client.next():
            pass
    process.send_signal(number)
    for client in clients:
        assert "The chat is ending" in (said := client.answer()), said
    said, remarks = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in said + remarks
    assert remarks.count("once more ends it at once") == 1


def test_a_second_signal_ends_the_chat_at_once(start_chat):
    process, port = start_chat()
    client = Asker(port, "when does the river ferry leave", stream=True)
    while "ferry" not in client.next():
        pass
    process.send_signal(signal.SIGINT)
    assert "once more" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, remarks = process.communicate(timeout=60)
    assert process.returncode in (130, 0)  # 0: it had ended meanwhile
    assert "Traceback" not in remarks


def test_whoever_left_before_the_answer_began_is_no_fault_of_the_chat(caplog):
    async def left(scope, receive, send):
        raise Left

    async def asked():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(_KnownErrors(left)), base_url="http://x") as client:
            return await client.get("/v1/models")

    reply = asyncio.run(asked())
    assert reply.status_code == 503
    assert reply.json()["error"]["message"] == "Nobody waits for the answer any more."
    assert caplog.records == []
