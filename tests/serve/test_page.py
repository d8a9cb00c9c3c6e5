"""The page as it is served: its HTML and files, what it says of itself, and the function for Gradio's clients."""

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from gradio_client import Client
from gradio_client.exceptions import AppError
from starlette.applications import Starlette

from rag.serve.access import Access, key_of, may_read
from rag.serve.mcp import DocumentTools
from rag.serve.page import SORRY, Page, page_app
from rag.serve.page_parts import Model
from rag.serve.page_shell import APP, icon_svg
from rag.serve.readers import Readers
from rag.serve.start import serve as open_chat
from rag.serve.users import RateLimit, Users
from rag.types import Passage
from tests.fakes.pages import As, make_chat, make_parts
from tests.fakes.training import PASSAGES

PEOPLE = 20


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Serve the page over a passage for each of twenty people; returns its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    corpus = [Passage(f"doc{n}@0", f"Person {n} likes colour{n}.", f"Title{n}") for n in range(PEOPLE)]
    pages = []

    def start(*, limit=None, users=None, auth=None):
        access = Access(users, limit or RateLimit(0))
        page = Page(make_parts(tmp_path, make_chat(passages=corpus), access=access)).blocks
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
                host: httpx.get(page.local_url + path, headers={"host": host}, timeout=60, trust_env=False).status_code
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


def rows(*paths):
    return [
        {
            "sha256": f"{path:0<64}",
            "kind": path.rsplit(".", 1)[1],
            "title": "",
            "n_passages": 1,
            "path": path,
            "paths": ({"root": "/docs", "path": path},),
        }
        for path in paths
    ]


def config_in(html):
    return json.loads(re.search(r'<script type="application/json" id="config">(.*?)</script>', html, re.S)[1])


def test_the_page_says_what_is_indexed_and_what_can_be_chosen(tmp_path):
    there = {"plans": rows("a.pdf", "b.pdf"), "notes": rows("c.md")}
    parts = make_parts(
        tmp_path,
        readers=Readers(None, lambda: there),
        index=tmp_path / "plans.index",
        models=[Model("", "Usual"), Model("big", "Big")],
        n_passages=lambda: 12,
        add_to_all=lambda paths: [],
    )
    reply = TestClient(page_app(parts)).get("/")
    config = config_in(reply.text)
    assert config["kinds"] == {"pdf": 2, "md": 1}
    assert (config["n_documents"], config["n_passages"], config["name"]) == (3, 12, "plans")
    assert config["collections"] == [{"name": "plans", "n": 2}, {"name": "notes", "n": 1}]
    assert config["models"] == [{"name": "", "label": "Usual"}, {"name": "big", "label": "Big"}]
    assert config["options"] == {
        "detail": "short",
        "retriever": "bm25",
        "retrievers": [["bm25", "Words"]],
        "retrieve": 10,
        "rerank": 10,
        "contexts": 2,
    }
    assert (config["may_upload"], config["may_add_to_all"], config["user"]) == (True, True, "")
    assert "<title>plans – Ask your documents</title>" in reply.text
    assert str(tmp_path) not in reply.text
    assert reply.headers["cache-control"] == "no-store"


def test_names_of_documents_and_of_the_index_are_text_and_nothing_else(tmp_path):
    hostile = "</script><script>alert(1)</script>{{config}}"
    parts = make_parts(tmp_path, readers=Readers(None, lambda: {hostile: rows("a.pdf")}), index=tmp_path / "a<b>{{x}}")
    html = TestClient(page_app(parts)).get("/").text
    assert "<script>alert" not in html
    assert config_in(html)["collections"][0]["name"] == hostile
    assert "a&lt;b&gt;{{x}}" in html


def test_no_script_and_no_style_stands_in_the_page_and_none_comes_from_elsewhere(tmp_path):
    reply = TestClient(page_app(make_parts(tmp_path))).get("/")
    policy = reply.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= {
        part.strip() for part in policy.split(";")
    }
    assert not re.search(r"<style|\son\w+=|\sstyle=|https?:", reply.text)
    scripts = re.findall(r"<script([^>]*)>", reply.text)
    assert all("src=" in script or "application/json" in script for script in scripts)
    for name in APP.iterdir():  # what the policy would block
        if name.suffix in (".js", ".html"):
            assert not re.search(r"\sstyle=|\beval\(|new Function", name.read_text("utf-8")), name


def test_the_files_of_the_page_are_served_and_change_their_address_with_their_content(tmp_path):
    web = TestClient(page_app(make_parts(tmp_path)))
    found = re.findall(r'(?:src|href)="(page/static/[^"]+)"', web.get("/").text)
    assert len(found) >= 7
    for address in found:
        reply = web.get(f"/{address}")
        assert reply.status_code == 200
        assert "immutable" in reply.headers["cache-control"]
        assert reply.headers["content-type"].startswith("text/css" if address.endswith(".css") else "text/javascript")
    version = found[0].split("/")[2]
    assert web.get(f"/{found[0].replace(version, 'older')}").headers["cache-control"] == "no-store"
    for path in ("page.html", "nothing.js", "..%2f..%2fpage.py", "source.css"):
        assert web.get(f"/page/static/{version}/{path}").status_code == 404


def test_every_module_that_a_module_names_is_there():
    for file in APP.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', file.read_text("utf-8")):
            assert (APP / name).is_file(), f"{file.name} imports {name}"


def test_where_names_are_asked_for_the_login_stands_before_the_page(tmp_path):
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    users.add("bob", "correct horse")
    users.grant("bob", ["secret"])
    there = {"open": rows("a.pdf"), "secret": rows("b.pdf")}
    parts = make_parts(
        tmp_path, access=Access(users), is_local=False, readers=Readers(users, lambda: there), n_passages=lambda: 9
    )
    app = page_app(parts)
    login = TestClient(As(app)).get("/").text
    assert 'name="password"' in login
    assert 'id="config"' not in login
    for path in ("/page/overview", "/page/suggestions", "/page/conversations", "/page/documents"):
        assert TestClient(As(app)).get(path).status_code == 401
    config = config_in(TestClient(As(app, "ada")).get("/").text)
    assert (config["user"], config["collections"], config["n_documents"]) == ("ada", [{"name": "open", "n": 1}], 1)
    assert config["n_passages"] == 0  # of all documents, which she may not read
    assert TestClient(As(app, "bob")).get("/page/overview").json()["n_documents"] == 2


def test_two_indexes_have_icons_of_their_own():
    assert icon_svg("plans") != icon_svg("notes")
    assert ">P</text>" in icon_svg("plans")
    assert "&lt;" not in icon_svg("<plans>")
    assert ">?</text>" in icon_svg("-")


def test_what_nobody_foresaw_is_a_sentence_and_goes_to_the_log(tmp_path, caplog):
    def broken():
        raise ZeroDivisionError("the secret")

    parts = make_parts(tmp_path, readers=Readers(None, broken))
    reply = TestClient(page_app(parts), raise_server_exceptions=False).get("/page/overview")
    assert (reply.status_code, reply.json()) == (500, {"detail": SORRY})
    assert "the secret" in caplog.text
