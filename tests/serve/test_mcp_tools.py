"""The tools of assistants with the protocol's own client, over HTTP and over stdin; and with hostile ones."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import mcp
import pytest
import uvicorn
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rag.data.passages import Corpus
from rag.errors import RagError
from rag.serve.library import MAX_TEXT_CHARACTERS, Library, passage_id_of, url_below, url_on_disk
from rag.serve.mcp import MAX_BODY_BYTES, tools_over
from rag.serve.mcp_stdio import MAX_LINE_BYTES
from rag.serve.sources import Source
from rag.serve.users import RateLimit
from rag.types import Passage, Place
from tests.fakes.assistants import PASSAGES, Talks, long_document, make_library

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.fakes.assistants"]
ACCEPT = {"accept": "application/json, text/event-stream"}
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
KEYS = {"Bearer a": "ada", "Bearer b": "bob"}


def message(number, method, params=None):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}


def call_of(number, tool, **arguments):
    return message(number, "tools/call", {"name": tool, "arguments": arguments})


def app_over(library, per_minute=0, *, keys=None, local=True):
    def who(request):
        return (keys or {}).get(request.headers.get("authorization", ""), "" if keys else "here")

    tools = tools_over(library, RateLimit(per_minute), who, lambda request: bool(who(request)), local=local)
    return Starlette(routes=tools.routes, lifespan=tools.lifespan)


@pytest.fixture
def client():
    """The routes of the tools, called as they are."""
    with TestClient(app_over(make_library()), base_url="http://localhost", headers=ACCEPT) as client:
        yield client


@contextlib.contextmanager
def served(app):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


async def with_session(connection, work):
    async with connection as streams, mcp.ClientSession(*streams[:2]) as session:
        await session.initialize()
        return await work(session)


def over_http(address, work):
    http = httpx.AsyncClient(trust_env=False)
    return asyncio.run(with_session(streamable_http_client(f"{address}/mcp", http_client=http), work))


def over_stdio(work):
    parameters = mcp.StdioServerParameters(command=PROGRAM[0], args=PROGRAM[1:], cwd=str(ROOT))
    return asyncio.run(with_session(stdio_client(parameters), work))


async def everything(session):
    """What a client can see and do: the tools, a search, the document found, an answer, and the passage by its URI."""
    tools = {tool.name: tool for tool in (await session.list_tools()).tools}
    found = await session.call_tool("search", {"query": "When does the ferry leave?"})
    best = found.structured_content["results"][0]
    fetched = await session.call_tool("fetch", {"id": best["id"]})
    answer = await session.call_tool("ask_documents", {"question": "who designed the amber line"})
    read = await session.read_resource(f"rag://passage/{best['id']}")
    return tools, found, fetched, answer, read


def check_everything(done, url):
    tools, found, fetched, answer, read = done
    assert list(tools) == ["ask_documents", "search", "fetch"]
    for tool in tools.values():
        assert tool.annotations.read_only_hint
        assert not tool.annotations.destructive_hint
        assert tool.description
        assert tool.output_schema["type"] == "object"
    assert tools["search"].input_schema["required"] == ["query"]
    assert tools["fetch"].input_schema["required"] == ["id"]
    assert "'trains', 'boats'" in tools["search"].description
    # The same as structured content and as JSON in the one piece of text.
    for result in (found, fetched, answer):
        assert [piece.type for piece in result.content] == ["text"]
        assert json.loads(result.content[0].text) == result.structured_content
        assert not result.is_error
    best = found.structured_content["results"][0]
    assert best == {"id": "isle@0", "title": "Tern Island", "url": url, "text": PASSAGES[2].text}
    text = f"Tern Island\n\n{PASSAGES[2].text}"
    assert fetched.structured_content == {
        "id": "isle@0",
        "title": "Tern Island",
        "text": text,
        "url": url,
        "metadata": {
            "source": "isle@0",
            "passage": PASSAGES[2].text,
            "start": 0,
            "end": len(text),
            "characters": len(text),
        },
    }
    assert read.contents[0].text == text
    assert answer.structured_content["answer"] == "Amber Line"
    assert answer.structured_content["citations"][0]["id"] == "line@0"
    assert not answer.structured_content["abstained"]


def test_every_tool_works_over_http():
    with served(app_over(make_library())) as address:
        check_everything(over_http(address, everything), f"{address}/source/isle@0#passage")


def test_every_tool_works_over_stdin_and_stdout_whatever_libraries_print():
    check_everything(over_stdio(everything), "rag://passage/isle@0")


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("search", {"query": " \n"}, "the query is empty; say what to search for"),
        ("search", {"query": "x" * 2001}, "the query is longer than 2,000 characters; please shorten it"),
        ("search", {}, "search needs the argument 'query'"),
        ("search", {"query": None}, "search needs the argument 'query'"),
        ("search", {"query": 5}, "the argument 'query' of search must be a text"),
        ("search", {"query": ["x"]}, "the argument 'query' of search must be a text"),
        ("search", {"query": "x", "limit": 0}, "'limit' of search must be a whole number from 1 to 50"),
        ("search", {"query": "x", "limit": 51}, "'limit' of search must be a whole number from 1 to 50"),
        ("search", {"query": "x", "limit": True}, "'limit' of search must be a whole number from 1 to 50"),
        ("search", {"query": "x", "collections": "boats"}, "'collections' of search must be a list of names"),
        ("search", {"query": "x", "collections": [1]}, "'collections' of search must be a list of names"),
        (
            "search",
            {"query": "x", "collections": []},
            "name at least one collection, or leave the argument out: tr",
        ),
        (
            "search",
            {"query": "x", "collections": ["cars"]},
            "there is no collection 'cars'; choose among trains, boats",
        ),
        ("search", {"query": "x", "collections": ["a"] * 101}, "must be a list of at most 100 names"),
        ("search", {"query": "x", "colection": ["a"]}, "search has no argument 'colection'; it has query, collections"),
        ("fetch", {"id": ""}, "the id is empty"),
        ("fetch", {"id": "isle@7"}, "no passage has the id 'isle@7'; search again"),
        ("fetch", {"id": "../../etc/passwd"}, "no passage has the id '../../etc/passwd'"),
        ("fetch", {"id": "x" * 1001}, "'id' of fetch must be at most 1,000 characters long"),
        ("fetch", {}, "fetch needs the argument 'id'"),
        ("ask_documents", {"question": " "}, "Type a question first."),
        ("ask_documents", {"question": "x" * 2001}, "The question is longer than 2,000 characters"),
        ("ask_documents", {"question": "x", "collections": ["cars"]}, "there is no collection 'cars'"),
    ],
)
def test_what_does_not_fit_is_an_error_of_the_tool_in_one_sentence(client, tool, arguments, sentence):
    result = client.post("/mcp", json=call_of(1, tool, **arguments)).json()["result"]
    assert result["isError"]
    (piece,) = result["content"]
    assert sentence in piece["text"]
    assert "\n" not in piece["text"]
    assert "structuredContent" not in result


def test_collections_and_limit_narrow_a_search(client):
    def found(**arguments):
        reply = client.post("/mcp", json=call_of(1, "search", query="ferry line", **arguments)).json()
        return [row["id"] for row in reply["result"]["structuredContent"]["results"]]

    assert set(found()) == {"line@0", "line@1", "isle@0", "page@0"}
    assert set(found(collections=None)) == set(found())
    assert set(found(collections=["trains"])) == {"line@0", "line@1"}
    assert set(found(collections=["boats"])) == {"isle@0", "page@0"}
    assert len(found(limit=1)) == 1


def test_without_collections_the_argument_is_refused_with_what_to_do():
    with pytest.raises(RagError, match="in no collections; leave out"):
        make_library(collections={}).search("ferry", ["boats"], 3, url_below("http://x"))


def test_an_answer_is_drawn_from_the_collections_that_were_named(client):
    def cited(**arguments):
        call = call_of(1, "ask_documents", question="when does the ferry line open", **arguments)
        return client.post("/mcp", json=call).json()["result"]["structuredContent"]["citations"][0]

    assert cited(collections=["trains"])["id"].startswith("line")
    boat = cited(collections=["boats"])
    assert boat["id"].partition("@")[0] in ("isle", "page")
    assert boat["url"]


def test_a_failure_inside_says_nothing_of_the_machine(caplog):
    library = make_library()
    library._chat.retrievers["bm25"] = None
    with TestClient(app_over(library), base_url="http://localhost", headers=ACCEPT) as client:
        result = client.post("/mcp", json=call_of(1, "search", query="x")).json()["result"]
    assert result["isError"]
    assert result["content"][0]["text"] == "search failed (AttributeError); the log of the server says where"
    assert "a call of the tool search failed" in caplog.text


def test_names_that_are_no_text_do_not_break_a_result():
    odd = Passage("odd@0", "a ferry \udcff here", "name \udcfe", "odd", Place(0, 8))
    with TestClient(app_over(make_library(passages=[odd])), base_url="http://localhost", headers=ACCEPT) as client:
        reply = client.post("/mcp", json=call_of(1, "search", query="ferry"))
    assert reply.json()["result"]["structuredContent"]["results"][0]["title"] == "name ?"


def test_a_long_document_is_cut_to_whole_blocks_around_the_passage():
    document = long_document(20_000)
    at = document.text.index("word15000")
    passage = Passage("long@0", document.text[at : at + 9], "Words")

    class One:
        def find(self, passage_id):
            return Source(passage, document, at, at + 9) if passage_id == "long@0" else None

    fetched = Library(None, None, One(), dict).fetch("long@0", url_below("http://h"))
    start, end = fetched["metadata"]["start"], fetched["metadata"]["end"]
    assert start < at < end
    assert end - start <= MAX_TEXT_CHARACTERS
    assert {start, end} <= {block.start for block in document.blocks} | {block.end for block in document.blocks}
    assert fetched["text"] == document.text[start:end]
    assert fetched["metadata"]["characters"] == len(document.text)


def test_an_address_leads_to_the_page_the_file_or_the_passage(tmp_path):
    web = Passage("w@0", "t", "T", "https://ferry.example/office", Place(0, 1))
    on_page = Passage("f" * 24 + "@0", "t", "T", "manuals/a b.pdf", Place(0, 1, 3))
    rows = [{"sha256": "f" * 64, "paths": [{"root": str(tmp_path), "path": "a b.pdf"}]}]
    of_corpus = Passage("d 1@0", "t", "T")
    assert url_below("http://h:1/")(web) == url_on_disk(dict)(web) == "https://ferry.example/office"
    assert url_below("http://h:1/")(of_corpus) == "http://h:1/source/d%201@0#passage"
    assert url_on_disk(lambda: {"manuals": rows})(on_page) == f"file://{tmp_path}/a%20b.pdf#page=3"
    assert passage_id_of(url_on_disk(dict)(of_corpus)) == "d 1@0"
    with pytest.raises(RagError, match="is no passage"):
        passage_id_of("file:///etc/passwd")


def test_keys_and_limits_hold_on_every_tool():
    app = app_over(make_library(), 3, keys=KEYS, local=False)
    with TestClient(app, base_url="http://docs.example.com", headers=ACCEPT) as client:

        def texts(key, *calls):
            replies = [client.post("/mcp", json=call, headers={"authorization": key}) for call in calls]
            return [reply.json()["result"]["content"][0]["text"] for reply in replies]

        asked = [
            call_of(1, "search", query="ferry"),
            call_of(2, "fetch", id="isle@0"),
            call_of(3, "ask_documents", question="who designed the amber line"),
        ]
        assert not any("too many" in text for text in texts("Bearer a", *asked))
        assert all("too many questions in a minute; ask again in" in text for text in texts("Bearer a", *asked))
        assert not any("too many" in text for text in texts("Bearer b", *asked))
        read = message(4, "resources/read", {"uri": "rag://passage/isle@0"})
        refused = client.post("/mcp", json=read, headers={"authorization": "Bearer b"}).json()
        assert "too many questions" in refused["error"]["message"]
        for call in (*asked, read, message(5, "tools/list"), message(6, "initialize", HELLO)):
            for key in ("", "Bearer x", "a"):
                assert client.post("/mcp", json=call, headers={"authorization": key}).status_code == 401


def test_what_is_no_message_is_an_error_of_the_protocol(client):
    headers = {**ACCEPT, "content-type": "application/json"}
    for body in (b"{", b"[" * 100_000, b'"text"', b"[]", b"\xff\xfe", b""):
        reply = client.post("/mcp", content=body, headers=headers)
        assert 400 <= reply.status_code < 500, body[:20]
        assert "Traceback" not in reply.text
    unknown = client.post("/mcp", json=call_of(1, "delete_everything")).json()["error"]
    assert unknown["code"] == -32602
    assert unknown["message"] == "there is no tool 'delete_everything'; there are: ask_documents, search, fetch"
    nothing = client.post("/mcp", json=message(1, "resources/read", {"uri": "rag://passage/none"})).json()["error"]
    assert nothing["code"] == -32602
    assert "no passage has the id 'none'" in nothing["message"]
    large = client.post("/mcp", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert large.status_code == 413
    assert client.post("/mcp", json=call_of(2, "search", query="ferry")).json()["result"]["structuredContent"][
        "results"
    ]


def test_a_client_that_leaves_stops_its_answer_over_http():
    generator = Talks()
    with served(app_over(make_library(generator))) as address:
        url, call = f"{address}/mcp", call_of(1, "ask_documents", question="tell slowly of the amber line")
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=call, headers=ACCEPT, timeout=httpx.Timeout(30, read=1.0), trust_env=False)
        assert generator.begun.is_set()
        assert generator.stopped.wait(10)
        assert generator.n_words < 3000


def test_a_call_that_is_cancelled_stops_and_others_go_on():
    async def cancel(session):
        slow = asyncio.ensure_future(session.call_tool("ask_documents", {"question": "tell slowly of the amber line"}))
        await asyncio.sleep(1.0)
        found = await session.call_tool("search", {"query": "ferry"})
        slow.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await slow
        after = await session.call_tool("ask_documents", {"question": "who designed the amber line"})
        return found, after

    found, after = over_stdio(cancel)
    assert found.structured_content["results"][0]["id"] in ("isle@0", "page@0")
    assert after.structured_content["answer"] == "Amber Line"


def test_two_clients_get_their_own_answers():
    async def ask(session, question):
        return [(await session.call_tool("ask_documents", {"question": question})).structured_content for _ in range(5)]

    async def both(address):
        def session(question):
            http = httpx.AsyncClient(trust_env=False)
            connection = streamable_http_client(f"{address}/mcp", http_client=http)
            return with_session(connection, lambda session: ask(session, question))

        return await asyncio.gather(session("who designed the amber line"), session("ferry to tern island"))

    with served(app_over(make_library())) as address:
        trains, boats = asyncio.run(both(address))
    assert {answer["citations"][0]["id"] for answer in trains} == {"line@0"}
    assert {answer["citations"][0]["id"] for answer in boats} == {"isle@0"}


def run_program(*lines, **options):
    """What the program says to these lines, until stdin ends; its exit status and its messages."""
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(
        PROGRAM, input=text.encode("utf-8", "surrogateescape"), capture_output=True, cwd=ROOT, timeout=300, **options
    )
    assert "Traceback" not in done.stderr.decode()
    return done.returncode, [json.loads(line) for line in done.stdout.decode().splitlines()]


BEGIN = [message(0, "initialize", HELLO), {"jsonrpc": "2.0", "method": "notifications/initialized"}]


def test_hostile_lines_are_answered_and_the_next_one_is_served():
    hostile = [
        "{\n",
        "\n",
        "no json at all\n",
        "[1, 2]\n",
        '{"jsonrpc": "1.0", "id": 7, "method": "tools/list"}\n',
        '{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}\n',
        "[" * 100_000 + "\n",
        "x" * (MAX_LINE_BYTES + 5) + "\n",
        '{"jsonrpc": "2.0", "id": 8, "method": "no/such"}\n',
        "\udcff\udcfe\n",
    ]
    status, said = run_program(*BEGIN, *hostile, call_of(9, "search", query="ferry"))
    assert status == 0
    by_id = {row["id"]: row for row in said if row["id"] is not None}
    assert by_id[0]["result"]["serverInfo"]["name"] == "rag"
    assert by_id[7]["error"]["code"] == -32600
    assert by_id[8]["error"]["code"] == -32601
    assert by_id[9]["result"]["structuredContent"]["results"]
    nameless = [row["error"] for row in said if row["id"] is None]
    assert sorted(error["code"] for error in nameless) == [-32700] * 4 + [-32600] * 3
    assert [error["message"] for error in nameless if "longer than" in error["message"]] == [
        "a line is longer than 1,048,576 bytes"
    ]


def test_a_thousand_calls_at_once_are_all_answered_before_the_end():
    calls = [call_of(n, "search", query="ferry", limit=1) for n in range(1, 1001)]
    status, said = run_program(*BEGIN, *calls)
    assert status == 0
    assert sorted(row["id"] for row in said) == list(range(1001))
    assert all(row["result"]["structuredContent"]["results"] for row in said if row["id"])


@pytest.mark.parametrize("lines", [(), ("\n",), ('{"jsonrpc": "2.0"',), (message(0, "initialize", HELLO),)])
def test_the_end_of_stdin_ends_the_process(lines):
    status, said = run_program(*lines)
    assert status == 0
    assert len(said) == sum(isinstance(line, dict) or len(line) > 1 for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_in_the_middle_of_an_answer(number):
    with subprocess.Popen(
        PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        for line in (*BEGIN, call_of(1, "ask_documents", question="tell slowly of the amber line")):
            process.stdin.write(json.dumps(line).encode() + b"\n")
        process.stdin.flush()
        assert b"serverInfo" in process.stdout.readline()
        while b"a library says" not in process.stderr.readline():
            pass
        process.send_signal(number)
        assert process.wait(60) == 0
        assert b"Traceback" not in process.stderr.read()


def test_a_client_that_only_stops_reading_ends_the_process_too():
    with subprocess.Popen(
        PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        process.stdout.close()
        for line in (*BEGIN, message(1, "tools/list")):
            process.stdin.write(json.dumps(line).encode() + b"\n")
        process.stdin.flush()
        assert process.wait(60) == 0
        assert b"Traceback" not in process.stderr.read()


def test_the_command_serves_an_index_over_stdin_and_stdout(data):
    settings, folder = data
    chosen = [f"encoder.model={settings.encoder.model}", f"reranker.model={settings.reranker.model}"]
    chosen += ["retriever.kind=bm25", "reader.enabled=false"]
    command = [sys.executable, "-m", "rag", "mcp", "-i", str(folder / "index")]
    for setting in chosen:
        command += ["--set", setting]
    lines = [*BEGIN, call_of(1, "search", query="who built the river", limit=2)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    begun, found = (json.loads(line) for line in done.stdout.splitlines())
    assert begun["id"] == 0
    assert len(found["result"]["structuredContent"]["results"]) == 2
    missing = [*command[:4], "-i", str(folder / "nowhere")]
    refused = subprocess.run(missing, input=text, capture_output=True, text=True, timeout=300, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "holds no index" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_corpus_is_read_by_the_ids_that_a_search_gives():
    library = make_library()
    for row in library.search("ferry line", None, 50, url_on_disk(dict))["results"]:
        assert (
            library.fetch(row["id"], url_on_disk(dict))["metadata"]["passage"] == Corpus(PASSAGES).by_id(row["id"]).text
        )
