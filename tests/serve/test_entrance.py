"""The guard in front of the real page: served, asked, and attacked."""

import json
import socket

import httpx
import pytest

from rag.build.identity import run_identity
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.errors import ConfigError
from rag.serve import connections
from rag.serve.entrance import is_for_one, public_address
from rag.serve.start import serve
from rag.serve.users import Users, address_of


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def chat_at(data, monkeypatch):
    """Serve the real chat over a small index, whose generator is a server that is not there; returns a client."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    settings, folder = data
    opened = []

    def start(users=None, **serving):
        changed = {
            "generator": settings.generator.model_copy(update={"kind": "server"}),
            "serving": settings.serving.model_copy(update=serving),
        }
        page = serve(settings.model_copy(update=changed), folder / "index", port=free_port(), users=users, block=False)
        client = httpx.Client(base_url=page.local_url, trust_env=False, timeout=30)
        opened.extend([client, page])
        return client, page

    yield start
    for one in opened:
        one.close()


def said(connection):
    """What comes back on a connection until it is closed."""
    connection.settimeout(20)
    text = b""
    while piece := connection.recv(65536):
        text += piece
    return text


def test_the_guard_stands_before_everything_that_is_served(chat_at):
    client, page = chat_at(uploads="off")
    for path in ("/gradio_api/queue/join", "/login", "/v1/chat/completions", "/nowhere"):
        kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
        big = client.post(path, content=b"x" * 2**21, headers={"content-type": kind})
        assert big.status_code == 413, path
        assert client.post(path, content=b"{}", headers={"origin": "http://evil.example"}).status_code == 403
    nested = client.post("/gradio_api/queue/join", content=b"[" * 10**5, headers={"content-type": "application/json"})
    assert nested.status_code == 400
    assert client.post("/page/documents/files", files={"files": ("a.txt", b"a")}).status_code == 403
    assert client.post("/gradio_api/upload", files={"files": ("a.txt", b"a")}).status_code == 404
    assert client.get("/gradio_api/file=/etc/passwd").status_code == 404
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    assert client.options("/v1/models", headers=asked).status_code == 403
    assert "access-control-allow-origin" not in client.get("/config", headers={"origin": "http://evil.example"}).headers
    assert client.get("/").headers["x-frame-options"] == "SAMEORIGIN"
    # Gradio has one function, and it is the one that its clients call.
    assert list(client.get("/gradio_api/info").json()["named_endpoints"]) == ["/ask"]
    assert client.post("/gradio_api/run/predict", json={"data": [], "fn_index": 1}).status_code == 400
    assert not page.api_open


def test_headers_without_an_end_and_connections_too_many_are_closed(chat_at, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    _, page = chat_at()
    address = ("127.0.0.1", page.server_port)
    with socket.create_connection(address) as slow, socket.create_connection(address) as silent:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert said(slow) == said(silent) == b""
    with socket.create_connection(address) as flood:
        try:
            flood.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 2**24)
            assert said(flood).startswith(b"HTTP/1.1 400")
        except ConnectionError:
            pass  # closed before all of it was sent
    monkeypatch.setattr(connections.BoundedConnection, "most", 0)
    with pytest.raises(httpx.TransportError), httpx.Client(base_url=page.local_url, trust_env=False) as another:
        another.get("/")


def test_what_is_still_sent_after_a_refusal_is_not_read_for_long(chat_at, monkeypatch):
    monkeypatch.setattr(connections, "LEFTOVER_SECONDS", 0.2)
    _, page = chat_at()
    with socket.create_connection(("127.0.0.1", page.server_port)) as connection:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 99999999\r\n\r\n{")
        assert said(connection).startswith(b"HTTP/1.1 413")


def test_a_question_counts_for_its_address_whatever_it_says_of_it(chat_at):
    body = {"messages": [{"role": "user", "content": "?"}]}

    def statuses(client):
        forged = ({"x-forwarded-for": f"10.0.0.{n}"} for n in range(3))
        return [client.post("/v1/chat/completions", json=body, headers=one).status_code for one in forged]

    client, _ = chat_at(questions_per_minute=1)
    assert statuses(client)[1:] == [429, 429]
    behind_proxy, _ = chat_at(questions_per_minute=1, origins=["https://docs.example.org"])
    assert 429 not in statuses(behind_proxy)


def test_a_login_ends_with_the_password_and_with_the_person(chat_at, tmp_path):
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    client, _ = chat_at(users)
    assert client.get("/gradio_api/queue/status").status_code == 401
    assert client.post("/login", data={"username": "ada", "password": "correct horse"}).status_code == 200
    assert client.get("/gradio_api/queue/status").status_code == 200
    users.add("ada", "battery staple")
    assert client.get("/gradio_api/queue/status").status_code == 401
    assert client.post("/login", data={"username": "ada", "password": "battery staple"}).status_code == 200
    assert client.get("/gradio_api/queue/status").status_code == 200
    users.remove("ada")
    assert client.get("/gradio_api/queue/status").status_code == 401
    assert client.get("/v1/models").status_code == 401


def test_behind_a_proxy_the_page_finds_its_parts_under_the_public_address(chat_at):
    client, page = chat_at(origins=["https://docs.example.org/rag"])
    public = {"host": "docs.example.org", "origin": "https://docs.example.org", "x-forwarded-proto": "https"}
    assert client.get("/config", headers=public).json()["root"] == "https://docs.example.org/rag"
    own = f"127.0.0.1:{page.server_port}"  # as a proxy does that gives its own name for ours
    for host in ("docs.example.org", own):
        answer = client.post("/gradio_api/call/ask", json={"data": ["?"]}, headers={**public, "host": host})
        assert answer.status_code == 200, host
    assert client.get("/", headers={"host": "rebound.example"}).status_code == 400


def test_uploads_and_history_are_for_one_person_alone():
    local, named = load_settings(), load_settings(overrides=['serving.origins=["https://docs.example.org"]'])
    assert is_for_one(local, "127.0.0.1", None)
    assert not is_for_one(named, "127.0.0.1", None)
    assert not is_for_one(local, "0.0.0.0", None)
    assert not is_for_one(local, "127.0.0.1", Users("users.json"))
    assert public_address(named) is None


@pytest.mark.parametrize("origin", ["docs.example.org", "ftp://docs.example.org", "https://", "https://a b", "*"])
def test_an_origin_is_an_address(origin):
    with pytest.raises(ConfigError):
        load_settings(overrides=[f"serving.origins={json.dumps([origin])}"])


def test_how_requests_are_limited_is_no_part_of_a_run(data):
    settings, folder = data
    other = {"origins": ["https://a.example"], "max_upload_mib": 1.0, "max_conversation_mib": 2.0, "max_added_mib": 3.0}
    changed = settings.model_copy(update={"serving": settings.serving.model_copy(update=other)})
    before, after = (
        run_identity(serving_over(one, folder / "index"), "q.txt", generate=False) for one in (settings, changed)
    )
    assert before == after
    assert not set(other) & set(before["settings"]["serving"])


@pytest.mark.parametrize(
    ("host", "counted_for"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_counts_with_its_network_where_it_is_one_of_many(host, counted_for):
    assert address_of(host) == counted_for
