"""The page without a browser: its one endpoint under load and under limits. What people see is tested in test_page."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import ClassVar

import gradio as gr
import httpx
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from gradio_client import Client
from gradio_client.exceptions import AppError
from starlette.applications import Starlette

from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.progress import progress
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.access import Access, key_of, may_read
from rag.serve.chat import Chat
from rag.serve.mcp import DocumentTools
from rag.serve.page import Page
from rag.serve.start import serve as open_chat
from rag.serve.turns import Options, Turn
from rag.serve.users import RateLimit, Users
from rag.types import Passage
from tests.fakes.pipelines import Echo
from tests.fakes.training import PASSAGES

PEOPLE = 20


def chat_over(corpus):
    return Chat(
        {"bm25": Lazy.of(BM25Retriever(corpus))},
        Lazy.of(KeepOrder()),
        Lazy.of(Echo()),
        get_prompt("cited-v1"),
        lambda strictness: None,
    )


def page_over_a_passage(**parts):
    """The page, over a chat that is not asked."""
    return Page(chat_over(Corpus([Passage("a@0", "text")])), Options(), title="T", **parts).blocks


@pytest.fixture
def serve(monkeypatch):
    """Serve the page over a passage for each of twenty people; returns its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    corpus = Corpus([Passage(f"doc{n}@0", f"Person {n} likes colour{n}.", f"Title{n}") for n in range(PEOPLE)])
    pages = []

    def start(*, limit=None, users=None, auth=None):
        access = Access(users, limit or RateLimit(0))
        page = Page(chat_over(corpus), Options("bm25"), title="Test", access=access).blocks
        page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, auth=auth)
        pages.append(page)
        return page.local_url

    yield start
    for page in pages:
        page.close()


def ask(address, question, **options):
    return Client(address, verbose=False, **options).predict(question, api_name="/ask")


def test_twenty_people_at_once_get_each_their_own_answer(serve):
    address = serve()
    with ThreadPoolExecutor(PEOPLE) as people:
        replies = list(people.map(lambda n: ask(address, f"what does colour{n} mean"), range(PEOPLE)))
    assert [[citation["id"] for citation in reply["citations"]] for reply in replies] == [
        [f"doc{n}@0"] for n in range(PEOPLE)
    ]


def test_who_asks_too_fast_and_what_is_no_question_is_told(serve):
    address = serve(limit=RateLimit(2))
    with pytest.raises(AppError, match="Type a question"):
        ask(address, " ")
    ask(address, "colour1")
    with pytest.raises(AppError, match="too many questions in a minute"):
        ask(address, "colour2")


def test_whoever_is_removed_may_not_go_on_asking(serve, tmp_path):
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    address = serve(users=users, auth=users.check_password)
    with pytest.raises(Exception, match=r"[Aa]uth|401|[Ll]og ?in"):
        ask(address, "colour1")
    client = Client(address, auth=("ada", "correct horse"), verbose=False)
    assert client.predict("colour1", api_name="/ask")["citations"]
    users.remove("ada")
    with pytest.raises(AppError, match="no longer"):
        client.predict("colour1", api_name="/ask")


def test_what_may_not_be_asked_ends_its_chain_of_events_and_costs_nothing(tmp_path):
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    page = page_over_a_passage(access=Access(users, RateLimit(1)))
    functions = {fn.name: fn for fn in page.fns.values()}
    ada, bob = (SimpleNamespace(username=name, client=None) for name in ("ada", "bob"))
    running = Turn("who?")
    for turns, person in (([running], ada), ([], bob)):
        for step, given in (("take", ["why?"]), ("may_ask_again", [])):
            with pytest.raises(gr.Error) as raised:
                functions[step].fn(*given, turns, person)
            assert (raised.value.visible, raised.value.print_exception) == (False, False)
    with pytest.raises(gr.Error):
        functions["may_ask_again"].fn([], ada)  # nothing was asked that could be asked again
    assert functions["take"].fn("why?", [], ada) == ("", "why?")
    with pytest.raises(gr.Error):
        functions["take"].fn("why?", [], ada)  # the second in a minute
    for name in ("grow", "ask_again"):
        assert functions[name].trigger_only_on_success


def test_a_page_opened_after_an_upload_searches_everything(serve, monkeypatch):
    """The page is made once; what it offers is looked up when it is opened."""
    row = {"sha256": "ab" * 32, "kind": "text", "title": "T", "n_passages": 1, "path": "a.txt"}
    there = {"docs": [row]}
    page = page_over_a_passage(collections=lambda: there)
    refresh = next(fn for fn in page.fns.values() if fn.name == "list_documents").fn
    there["uploads"] = [row]
    group, offered, listing = refresh(["docs"], ["docs"], "")
    assert (group.value, group.visible, offered) == (["docs", "uploads"], True, ["docs", "uploads"])
    assert "uploads (1)" in listing
    assert refresh([], ["docs"], "")[0].value == ["uploads"]


def test_doors_open_for_keys_and_logins_only(tmp_path):
    """A request to a source or to the tools, as it carries a key, a login or nothing."""
    users = Users(tmp_path / "users.json")
    key = users.add("ada", "correct horse")

    def request(headers):
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        return Request({"type": "http", "headers": pairs, "client": ("127.0.0.1", 1)})

    page = SimpleNamespace(app=SimpleNamespace(cookie_id="7", tokens={"t": "ada", "old": "bob"}))
    for headers, may in (
        ({}, False),
        ({"authorization": "Bearer wrong"}, False),
        ({"authorization": f"Bearer {key}"}, True),
        ({"cookie": "access-token-7=t"}, True),
        ({"cookie": "access-token-unsecure-7=t"}, True),
        ({"cookie": "access-token-7=forged"}, False),
        ({"cookie": "access-token-7=old"}, False),
    ):
        assert may_read(page, users, request(headers)) == may
    assert key_of(users, request({"authorization": f"Bearer {key}"})) == "ada"
    assert key_of(users, request({"authorization": "Bearer wrong"})) == ""
    users.remove("ada")
    assert not may_read(page, users, request({"cookie": "access-token-7=t"}))


def test_where_only_this_machine_may_ask_its_names_alone_are_heard(data, monkeypatch):
    """A page of the web may give its own name the address of this machine, and ask through a browser here."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    settings, folder = data
    settings = settings.model_copy(update={"generator": settings.generator.model_copy(update={"kind": "server"})})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = open_chat(settings, folder / "index", port=port, block=False)
    try:
        for path in ("", "v1/models", f"source/{PASSAGES[0].id}", "gradio_api/info"):
            heard = {
                host: httpx.get(page.local_url + path, headers={"host": host}, trust_env=False).status_code
                for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", f"rebound.example:{port}")
            }
            assert list(heard.values()) == [200, 200, 200, 400], path
    finally:
        page.close()


@pytest.mark.parametrize("local", [True, False])
def test_the_tools_ask_for_a_key_and_where_only_this_machine_may_ask_for_its_name(local):
    tools = DocumentTools(
        lambda question, request: {"answer": question.upper()},
        lambda request: local or request.headers.get("authorization") == "Bearer k",
        local=local,
    )
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    call["params"] = {"name": "ask_documents", "arguments": {"question": "why"}}
    headers = {"accept": "application/json, text/event-stream", "authorization": "Bearer k"}
    with TestClient(Starlette(routes=tools.routes, lifespan=tools.lifespan), base_url="http://localhost") as client:
        reply = client.post("/mcp", json=call, headers=headers)
        assert reply.status_code == 200
        assert "WHY" in reply.text
        elsewhere = client.post("/mcp", json=call, headers={**headers, "host": "docs.example.com"})
        assert elsewhere.status_code == (421 if local else 200)
        if not local:
            assert client.post("/mcp", json=call, headers={**headers, "authorization": ""}).status_code == 401


def test_files_go_to_the_conversation_or_to_all(tmp_path):
    """The page's own functions: where files go, what is offered then, and what is asked with."""

    class Files:
        kept: ClassVar[dict] = {}

        def add(self, key, paths):
            self.kept[key] = [{"sha256": "cd" * 32, "kind": "text", "n_passages": 1, "path": "own.txt"}]
            return ["taken <in>"]

        def documents(self, key):
            return self.kept.get(key, [])

    taken = []
    page = page_over_a_passage(add_to_all=lambda paths: taken.append(paths) or ["to all"], attachments=Files())
    functions = {fn.name: fn.fn for fn in page.fns.values()}
    request = SimpleNamespace(username=None, session_hash="s")
    unchanged = gr.skip()
    _, (said, key, _) = functions["add"](["f.txt"], "All conversations", "", "", request)
    assert (said, key, taken) == ("to all", unchanged, [["f.txt"]])
    # The key is known before the work begins, and given once: by the end another conversation may be open.
    (_, key, _), (said, later, _) = functions["add"](["f.txt"], "This conversation only", "", "", request)
    assert "&#60;in&#62;" in said
    assert len(key) == 32
    assert later == unchanged
    (_, again, _), _ = functions["add"](["f.txt"], "This conversation only", key, "", request)
    assert again == unchanged
    group, offered, listing = functions["list_documents"]([], [], key)
    assert offered == group.value == ["Everything indexed", "Files of this conversation"]
    assert f'href="conversation/{key}/source/' in listing
    group, offered, listing = functions["list_documents"](offered, offered, "")
    assert (group.visible, offered, listing) == (False, [], "")


def test_taking_files_in_shows_how_far_it_is_and_stops(monkeypatch):
    monkeypatch.setattr("rag.serve.panels.uploads.SECONDS_BETWEEN_LOOKS", 0.01)
    step, taken = threading.Semaphore(0), []

    def add_files(*given):
        with progress("Reading", 4, "files") as bar:
            for _ in range(4):
                step.acquire(timeout=10)
                bar.advance()
        taken.append(given)
        return ["done"]

    page = page_over_a_passage(
        add_to_all=add_files, attachments=SimpleNamespace(add=add_files, documents=lambda key: [])
    )
    functions = {fn.name: fn.fn for fn in page.fns.values()}
    request, other = (SimpleNamespace(username=None, session_hash=name) for name in "so")

    def adding(way):
        shown = functions["add"](["f.txt"], way, "", "", request)
        assert "Adding 1 file…" in next(shown)[0]
        step.release(2)
        while "2 of 4 files" not in (said := next(shown)[0]):
            assert "of 4 files" in said
        assert '<progress value="0.500" aria-label="Reading">' in said
        return shown

    def last(shown):
        step.release(2)
        said, _, button = list(shown)[-1]
        assert button.visible is False
        return said

    shown = adding("This conversation only")
    functions["halt"](other)
    functions["halt"](request)
    assert last(shown).startswith("Stopped before it was done")
    step = threading.Semaphore(0)
    shown = adding("This conversation only")
    functions["halt_own"](request)  # another conversation was opened
    assert last(shown).startswith("Stopped before it was done")
    assert taken == []
    step = threading.Semaphore(0)
    shown = adding("All conversations")
    functions["halt_own"](request)
    assert last(shown) == "done"
    assert taken == [(["f.txt"],)]
