"""What every request meets first: from where, how large, how slowly, how deep, and by whom."""

import asyncio
import json
import os
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rag.errors import DataError
from rag.serve import limits
from rag.serve.gradio_routes import check_event, is_needed, is_of_gradio
from rag.serve.guard import HEADERS, LOGINS_A_MINUTE, Guard, Rules, _refusal
from rag.serve.limits import ClientLeft, Places, Refused, in_time, parsed, read_body
from rag.serve.logins import KEPT_SECONDS, Logins, Visits
from rag.serve.origins import Origins
from rag.serve.upload_room import UploadRoom, check_room, is_within, size_of

LOCAL = Origins(only_local=True)
OURS = "127.0.0.1:7860"
UPLOAD = "/page/documents/files"


class Behind:
    """The application behind the guard: it reads the whole body, and counts what it was given."""

    def __init__(self, headers=()):
        self.bodies, self._headers = [], list(headers)

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        response = JSONResponse({"person": scope["state"]["person"]})
        response.raw_headers += self._headers
        await response(scope, receive, send)


def guard(app=None, *, origins=LOCAL, person=lambda request: "", takes_files=False, max_upload_bytes=1000):
    return Guard(app or Behind(), Rules(origins, person, takes_files, max_upload_bytes, lambda number: number < 3))


def asked(app, method, path, **request):
    """The answer to one request; `host` is ours unless given."""

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{OURS}") as client:
            return await client.request(method, path, **request)

    return asyncio.run(ask())


def post(app, path, body=b"{}", kind="application/json", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked(app, "POST", path, content=body, headers={"content-type": kind, **headers})


JSON_ROUTES = [
    "/gradio_api/queue/join",
    "/gradio_api/run/predict",
    "/gradio_api/call/ask",
    "/v1/chat/completions",
    "/page/ask",
]


@pytest.mark.parametrize("path", [*JSON_ROUTES, "/mcp", "/gradio_api/cancel", "/elsewhere"])
def test_a_body_too_large_is_refused_and_read_no_further(path):
    behind = Behind()
    read = []

    async def endless():
        for n in range(10_000):
            read.append(n)
            yield b"[" * 2**16

    said = post(guard(behind), path, b"", content_length=str(limits.BODY_BYTES + 1))
    assert said.status_code == 413
    assert post(guard(behind), path, endless()).status_code == 413
    assert len(read) <= limits.BODY_BYTES // 2**16 + 1
    assert behind.bodies == []


def test_the_largest_body_is_passed_on_whole():
    behind, body = Behind(), json.dumps({"a": "x" * 2**19}).encode()
    assert post(guard(behind), "/v1/chat/completions", body).status_code == 200
    assert behind.bodies == [body]


def test_a_form_of_the_login_is_smaller_still():
    behind, kind = Behind(), "application/x-www-form-urlencoded"
    assert post(guard(behind), "/login", b"a" * (limits.FORM_BYTES + 1), kind).status_code == 413
    assert post(guard(behind), "/login", b"username=a&password=b", kind).status_code == 200
    assert behind.bodies == [b"username=a&password=b"]


def receiving(*messages, then=None):
    """An ASGI `receive` that gives messages, and then waits for ever, or gives `then`."""
    given = [*messages]

    async def receive():
        if given:
            return given.pop(0)
        if then is None:
            await asyncio.Event().wait()
        return then

    return receive


def test_a_body_that_does_not_come_in_time_is_not_waited_for():
    started = {"type": "http.request", "body": b"{", "more_body": True}
    headers = Headers({"content-length": "10"})
    with pytest.raises(Refused) as refused:
        asyncio.run(read_body(receiving(started), headers, 100, seconds=0.01))
    assert refused.value.status == 408
    with pytest.raises(ClientLeft):
        asyncio.run(read_body(receiving(started, then={"type": "http.disconnect"}), headers, 100))


def test_an_upload_that_stalls_crawls_or_is_too_long_ends_as_if_its_client_had_left(monkeypatch):
    def received(**options):
        async def all_of_it():
            receive = in_time(receiving({"type": "http.request", "body": b"abc", "more_body": True}), **options)
            return [(await receive())["type"], (await receive())["type"]]

        return asyncio.run(all_of_it())

    assert received(stall_seconds=0.01) == ["http.request", "http.disconnect"]
    assert received(limit=2, stall_seconds=0.01)[0] == "http.disconnect"
    monkeypatch.setattr(limits, "SLOWEST_BYTES_A_SECOND", 1e12)
    assert received(stall_seconds=-1e-9)[0] == "http.disconnect"


def test_places_are_limited_for_all_and_for_each_and_given_back():
    places = Places(total=3, of_one=2)
    with places.place("a"), places.place("a"):
        with pytest.raises(Refused) as refused, places.place("a"):
            pass
        assert refused.value.status == 503
        with places.place("b"), pytest.raises(Refused), places.place("c"):
            pass
    with places.place("a"), places.place("a"), places.place("c"):
        pass


@pytest.mark.parametrize("path", JSON_ROUTES)
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'[{"a":' * 40 + b"1" + b"}]" * 40])
def test_json_nested_too_deep_is_refused(path, body):
    behind = Behind()
    assert post(guard(behind), path, body).status_code == 400
    assert behind.bodies == []


def test_brackets_in_texts_and_beside_each_other_are_no_nesting():
    for value in ({"q": "[" * 1000 + '\\"]{' * 1000}, [[] for _ in range(1000)], {"a": [{}] * 1000}):
        assert parsed(json.dumps(value).encode()) == value
    for opening, closing, depth in (("[", "]", 32), ('{"a":', "}", 32), ('[{"a":', "}]", 16)):
        parsed((opening * depth + "1" + closing * depth).encode())
        with pytest.raises(Refused):
            parsed((opening * (depth + 1) + "1" + closing * (depth + 1)).encode())


@pytest.mark.parametrize("body", [b"[" * 10**6, b"[" + b"[]," * 300_000 + b"[]]", b'{"a":' * 10**5])
def test_a_million_brackets_are_not_read(body):
    with pytest.raises(Refused):
        parsed(body)
    assert parsed(b'"' + b"[" * limits.BRACKETS + b'"') == "[" * limits.BRACKETS


@pytest.mark.parametrize("kind", ["text/plain", "", "multipart/form-data; boundary=x", "application/x-json"])
@pytest.mark.parametrize("path", [*JSON_ROUTES, "/mcp"])
def test_only_json_is_taken(path, kind):
    behind = Behind()
    assert post(guard(behind), path, b'{"messages": []}', kind).status_code == 415
    assert behind.bodies == []
    body = b'{"data": ["a"]}' if path.endswith("/call/ask") else b'{"data": [], "fn_index": 1}'
    assert post(guard(behind), path, body, "Application/JSON; charset=utf-8").status_code == 200


FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "https://evil.example:7860"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:7860.evil.example"},
    {"origin": "http://localhost:3000"},  # another program on this machine
    {"origin": "http://localhost@evil.example:7860"},
    {"origin": "file://"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://evil.example", "x-forwarded-host": "evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", [*JSON_ROUTES, "/mcp", "/login", UPLOAD, "/v1/files"])
def test_a_foreign_page_sends_nothing(path, headers):
    behind = Behind()
    for method in ("POST", "DELETE", "PUT"):
        assert asked(guard(behind), method, path, content=b"{}", headers=headers).status_code in (403, 404)
    assert asked(guard(behind), "POST", path, content=b"{}", headers=headers).status_code == 403
    preflight = {**headers, "access-control-request-method": "POST"}
    if "origin" in headers:
        assert asked(guard(behind), "OPTIONS", path, headers=preflight).status_code == 403
    assert behind.bodies == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"},
        {"origin": "http://localhost:7860"},
        {"origin": "http://[::1]:7860"},
        {"origin": "https://docs.example.org"},
        {"sec-fetch-site": "none"},
    ],
)
def test_our_own_pages_and_programs_may(headers):
    origins = Origins.of(["https://docs.example.org/rag"], only_local=True)
    assert post(guard(origins=origins), "/v1/chat/completions", **headers).status_code == 200


def test_a_page_is_our_own_by_the_name_that_was_asked_for_and_behind_a_proxy_by_the_name_it_tells():
    origins = Origins()
    for host, more, origin, own in (
        ("docs.example.org", {}, "https://docs.example.org", True),
        ("docs.example.org:443", {}, "https://docs.example.org", True),
        ("docs.example.org:80", {}, "http://Docs.Example.org", True),
        ("docs.example.org", {}, "https://other.example.org", False),
        ("docs.example.org:8443", {}, "https://docs.example.org", False),
        (OURS, {"x-forwarded-host": "docs.example.org"}, "https://docs.example.org", True),
        (OURS, {}, "https://docs.example.org", False),
    ):
        headers = Headers({"host": host, "origin": origin, **more})
        assert origins.lets_in("POST", headers) is own, (host, origin)


@pytest.mark.parametrize(
    ("mode", "dest", "status"),
    [("navigate", "document", 200), ("no-cors", "image", 403), ("navigate", "iframe", 403), ("cors", "empty", 403)],
)
def test_a_foreign_page_may_link_here_and_show_nothing_of_ours(mode, dest, status):
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    assert asked(guard(), "GET", "/source/a@0", headers=headers).status_code == status


def test_only_our_own_pages_may_read_answers():
    """Gradio lets every page read them, with the person's cookies."""
    given = [(b"access-control-allow-origin", b"*"), (b"access-control-allow-credentials", b"true")]
    for origin, may in (("http://evil.example", False), ("http://localhost:7860", True)):
        answer = asked(guard(Behind(given)), "GET", "/v1/models", headers={"origin": origin})
        assert ("access-control-allow-origin" in answer.headers) is may
        assert ("access-control-allow-credentials" in answer.headers) is may


@pytest.mark.parametrize(
    ("host", "heard"),
    [
        (OURS, True),
        ("LocalHost:1", True),
        ("[::1]:7860", True),
        ("docs.example.org", True),
        ("rebound.example:7860", False),
        ("127.0.0.1.rebound.example", False),
        ("localhost.", False),
        ("localhost:7860:1", False),
        ("", False),
    ],
)
def test_where_only_this_machine_may_ask_its_names_alone_and_the_named_ones_are_heard(host, heard):
    origins = Origins.of(["https://docs.example.org"], only_local=True)
    assert origins.hears(Headers({"host": host})) is heard
    assert Origins().hears(Headers({"host": host})) is (heard or "rebound" in host or host == "localhost.")


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/gradio_api/queue/join", True),
        ("POST", "/gradio_api/run/predict", True),
        ("POST", "/gradio_api/call/ask", True),
        ("GET", "/gradio_api/call/ask/0a1b", True),
        ("GET", "/gradio_api/heartbeat/abc123", True),
        ("POST", "/gradio_api/call/grow", False),
        ("POST", "/gradio_api/run/ask", False),
        ("POST", "/gradio_api/api/predict", False),
        ("GET", "/gradio_api/proxy=http://10.0.0.1/", False),
        ("GET", "/gradio_api/file=/etc/passwd", False),
        ("GET", "/gradio_api/file=http://10.0.0.1/", False),
        ("GET", "/gradio_api/file/etc/passwd", False),
        ("GET", "/gradio_api/deep_link", False),
        ("GET", "/gradio_api/token", False),
        ("GET", "/gradio_api/dev/reload", False),
        ("POST", "/gradio_api/component_server", False),
        ("POST", "/gradio_api/process_recording", False),
        ("POST", "/gradio_api/vibe-edit/", False),
        ("POST", "/gradio_api/stream/1", False),
        ("GET", "/gradio_api/custom_component/a/client/b/c.js", False),
        ("GET", "/gradio_api/heartbeat/" + "x" * 65, False),
        ("GET", "/gradio_api/queue/join", False),
        ("POST", "/gradio_api/upload", False),
        ("GET", "/gradio_api/upload_progress", False),
        ("GET", "/assets/index.js", False),
        ("GET", "/static/a.js", False),
        ("GET", "/theme.css", False),
        ("GET", "/monitoring/summary", False),
        ("GET", "/openapi.json", False),
    ],
)
def test_of_gradios_routes_only_those_that_its_client_needs_are_there(method, path, needed):
    assert is_of_gradio(path)
    assert is_needed(method, path) is needed
    assert (asked(guard(), method, path).status_code != 404) is needed


def test_the_rest_of_the_page_is_there():
    for path in ("/", "/config", "/page/static/1/a.js", "/page/conversations", "/source/a@0", "/v1/models", "/mcp"):
        assert asked(guard(), "GET", path).status_code == 200


def event(**fields):
    return json.dumps({"data": [], "session_hash": "abc", "fn_index": 1, **fields}).encode()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": {}},
        {"data": []},
        {"data": [1]},
        {"data": ["a", "b"]},
        {"data": None},
        {"data": "a"},
        {"data": ["a"], "fn_index": 100_000},
        {"data": ["a"], "fn_index": {"a": 1}},
    ],
)
def test_a_call_of_ask_holds_one_question(body):
    refused = post(guard(), "/gradio_api/call/ask", json.dumps(body).encode())
    assert refused.status_code == 400
    assert refused.json()["detail"]
    assert post(guard(), "/gradio_api/call/ask/", json.dumps({"data": ["a"]}).encode()).status_code == 200


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/v1/chat/completions", "/elsewhere"])
def test_a_refusal_for_now_says_when_to_try_again(path):
    later = _refusal(path, Refused(503, "too many requests", wait_seconds=7))
    assert later.headers["retry-after"] == "7"
    assert "retry-after" not in _refusal(path, Refused(400, "no JSON")).headers


def test_no_request_to_gradio_names_a_file():
    def naming(path):
        return event(data=[[{"path": path, "meta": {"_type": "gradio.FileData"}}]])

    for path in ("/etc/passwd", "a.txt", "http://10.0.0.1/secret", ["/etc/passwd"], {"path": "a"}, None):
        with pytest.raises(Refused) as refused:
            check_event(naming(path))
        assert refused.value.status == 403
    deep = event(event_data={"a": [{"b": {"path": "/etc/passwd"}}]}).replace(b"path", b"\\u0070ath")
    assert post(guard(takes_files=True), "/gradio_api/queue/join", deep).status_code == 403


def test_what_lies_in_a_folder_is_known_whatever_its_path_says(tmp_path):
    room, secret = tmp_path / "room", tmp_path / "secret.txt"
    room.mkdir()
    secret.write_text("secret", "utf-8")
    mine = room / "a.txt"
    mine.write_text("mine", "utf-8")
    (room / "link.txt").symlink_to(secret)
    assert is_within(str(mine), room)
    for path in (str(secret), str(room / ".." / "secret.txt"), str(room / "link.txt"), "a.txt", f"{mine}\0", [], None):
        assert not is_within(path, room), path


@pytest.mark.parametrize(
    "fields",
    [
        {"session_hash": "x" * 65},
        {"session_hash": ["a"]},
        {"session_hash": "a/../b"},
        {"event_id": {}},
        {"fn_index": "x" * 99},
    ],
)
def test_names_of_visits_and_events_are_short(fields):
    """Gradio keeps thousands of them."""
    assert post(guard(), "/gradio_api/queue/join", event(**fields)).status_code == 400
    assert asked(guard(), "GET", "/gradio_api/queue/data?session_hash=" + "x" * 65).status_code == 400


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"{", b"\xff\xfe", b"1e999999"])
def test_what_is_no_json_object_is_no_event(body):
    assert post(guard(), "/gradio_api/run/predict", body).status_code == 400


def people(**by_key):
    """Who sends a request, by its key."""
    return lambda request: by_key.get(request.headers.get("authorization", ""))


def test_before_login_nothing_is_read_but_the_login():
    behind, read = Behind(), []

    async def body():
        read.append(1)
        yield b"{}"

    locked = guard(behind, person=people(k="ada"), takes_files=True)
    for path in (*JSON_ROUTES, "/mcp", UPLOAD, "/v1/files", "/gradio_api/cancel"):
        assert post(locked, path, body()).status_code == 401
    gradios = ("/gradio_api/heartbeat/abc", "/gradio_api/queue/data?session_hash=abc")
    for path in (*gradios, "/page/conversations", "/page/documents", "/page/overview", "/page/static"):
        assert asked(locked, "GET", path).status_code == 401
    assert (read, behind.bodies) == ([], [])
    for path in ("/", "/config", "/gradio_api/login_check", "/gradio_api/startup-events", "/page/static/1/a.js"):
        assert asked(locked, "GET", path).status_code == 200
    assert post(locked, "/v1/chat/completions", authorization="k").json() == {"person": "ada"}


def test_nobody_acts_in_another_persons_visit():
    locked = guard(person=people(a="ada", b="bob"))
    assert post(locked, "/gradio_api/queue/join", event(), authorization="a").status_code == 200
    for path in ("/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/cancel"):
        assert post(locked, path, event(), authorization="b").status_code == 403
    for path in ("/gradio_api/queue/data?session_hash=abc", "/gradio_api/heartbeat/abc"):
        assert asked(locked, "GET", path, headers={"authorization": "b"}).status_code == 403
        assert asked(locked, "GET", path, headers={"authorization": "a"}).status_code == 200
    twice = "/gradio_api/queue/data?session_hash=own&session_hash=abc"
    assert asked(locked, "GET", twice, headers={"authorization": "b"}).status_code == 403


def test_the_oldest_visits_are_forgotten(monkeypatch):
    monkeypatch.setattr("rag.serve.logins.VISITS", 2)
    visits = Visits()
    assert all(visits.is_of(name, "ada") for name in "abc")
    assert not visits.is_of("c", "bob")
    assert visits.is_of("a", "bob")


def test_tries_to_log_in_are_counted_by_address_too():
    behind = Behind()
    locked = guard(behind, person=people())
    kind = "application/x-www-form-urlencoded"
    statuses = [post(locked, "/login", f"username=u{n}".encode(), kind).status_code for n in range(LOGINS_A_MINUTE + 3)]
    assert statuses == [200] * LOGINS_A_MINUTE + [429] * 3
    assert len(behind.bodies) == LOGINS_A_MINUTE


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/?" + "a&" * 5000, {}, 414),
        ("/" + "a" * 9000, {}, 414),
        ("/", {f"x-{n}": "a" for n in range(101)}, 431),
        ("/", {"x": "a" * 40_000}, 431),
    ],
)
def test_long_addresses_and_headers_are_refused(path, headers, status):
    assert asked(guard(), "GET", path, headers=headers).status_code == status


def test_other_methods_and_websockets_are_refused():
    assert asked(guard(), "TRACE", "/").status_code == 405
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(guard()(scope, receiving({"type": "websocket.connect"}), send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_answers_say_who_may_show_them():
    answer = asked(guard(), "GET", "/")
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    own = [(b"content-security-policy", b"default-src 'none'")]
    assert asked(guard(Behind(own)), "GET", "/").headers.get_list("content-security-policy") == ["default-src 'none'"]
    assert asked(guard(), "POST", "/login", headers={"origin": "null"}).headers["x-frame-options"] == "SAMEORIGIN"


def test_cookies_of_the_login_are_for_our_own_pages_alone():
    """Gradio's are sent by every page (SameSite=none), and one of them without TLS even where there is TLS."""
    cookies = [
        (b"set-cookie", b"access-token-7=t; HttpOnly; Path=/; SameSite=none; Secure"),
        (b"set-cookie", b"access-token-unsecure-7=t; HttpOnly; Path=/; SameSite=lax"),
    ]

    def given(**headers):
        return asked(guard(Behind(cookies), origins=Origins()), "GET", "/", headers=headers).headers.get_list(
            "set-cookie"
        )

    secure, other = given()
    assert secure == "access-token-7=t; HttpOnly; Path=/; Secure; SameSite=Lax"
    assert other == "access-token-unsecure-7=t; HttpOnly; Path=/; SameSite=Lax"
    assert given(**{"x-forwarded-proto": "https"}) == [secure]


class Stamps:
    """Users as logins know them: by what changes with their password."""

    def __init__(self, **stamps):
        self.stamps = stamps

    def stamp(self, name):
        return self.stamps.get(name)


def test_a_login_ends_with_the_password_the_person_and_in_time(monkeypatch):
    users, now = Stamps(ada="1", bob="1", eve="1"), [0.0]
    logins = Logins(users, lambda: now[0])
    for token, name in (("a", "ada"), ("b", "bob"), ("e", "eve")):
        logins[token] = name
    assert (logins.get("a"), logins.get("x"), logins.get(None)) == ("ada", None, None)
    users.stamps = {"ada": "2", "eve": "1"}
    assert (logins.get("a"), logins.get("b"), logins.get("e")) == (None, None, "eve")
    assert dict(logins) == {"e": "eve"}
    users.stamps = {"ada": "1", "eve": "1"}  # a login that ended does not come back
    assert logins.get("a") is None
    now[0] = KEPT_SECONDS + 1
    assert logins.get("e") is None
    monkeypatch.setattr("rag.serve.logins.MOST", 2)
    for token in "123":
        logins[token] = "ada"
    assert [*logins] == ["2", "3"]


def upload(app, *files, **headers):
    return asked(app, "POST", UPLOAD, files=[("files", file) for file in files], headers=headers)


def taking(root, *, max_bytes=10_000, max_file_bytes=1000, person=lambda request: "ada"):
    """The guard with a route behind it that takes files into the room."""
    room = UploadRoom(root, max_bytes, max_file_bytes)

    async def receive(request):
        n_bytes = min(int(request.headers.get("content-length", max_bytes)), max_bytes)
        try:
            return JSONResponse(await room.take(request, request.state.person, n_bytes))
        except Refused as refused:
            return Response(refused.sentence, refused.status)
        except MultiPartException as error:
            return Response(error.message, 413 if "exceed" in error.message else 400)

    route = Route(UPLOAD, receive, methods=["POST"])
    return room, guard(route.handle, person=person, takes_files=True, max_upload_bytes=max_bytes)


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_uploads_are_stored_under_their_names_each_in_a_folder_of_its_own(tmp_path):
    _, app = taking(tmp_path)
    answer = upload(app, ("a.txt", b"one"), ("a.txt", b"two"), ("../../up.txt", b"three"), ("..", b"four"))
    assert answer.status_code == 200
    paths = answer.json()
    assert [Path(path).read_bytes() for path in paths] == [b"one", b"two", b"three", b"four"]
    assert [os.path.basename(path) for path in paths] == ["a.txt", "a.txt", "up.txt", "file"]
    assert files_below(tmp_path) == sorted(map(Path, paths))


def test_uploads_are_refused_unread_where_they_are_off(tmp_path):
    behind, read = Behind(), []

    async def body():
        read.append(1)
        yield b"x"

    answer = post(guard(behind), UPLOAD, body(), "multipart/form-data; boundary=x")
    assert (answer.status_code, read, behind.bodies) == (403, [], [])


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([("a.txt", b"x" * 1001)], 413),  # one file
        ([("a.txt", b"x" * 900)] * 12, 413),  # all together
    ],
)
def test_uploads_too_large_leave_nothing_behind(tmp_path, files, status):
    _, app = taking(tmp_path)
    assert upload(app, *files).status_code == status
    request = httpx.Request("POST", f"http://{OURS}", files=[("files", file) for file in files])
    body, kind = request.read(), request.headers["content-type"]

    async def pieces():
        for start in range(0, len(body), 500):
            yield body[start : start + 500]

    assert post(app, UPLOAD, pieces(), kind).status_code == status
    assert files_below(tmp_path) == []


def test_a_form_with_anything_but_files_is_refused(tmp_path):
    _, app = taking(tmp_path)
    answer = asked(app, "POST", UPLOAD, data={"files": "x" * 5000}, files=[("files", ("a", b"a"))])
    assert (answer.status_code, files_below(tmp_path)) == (400, [])


def test_what_one_person_has_on_the_way_is_limited_and_what_is_old_or_added_goes(tmp_path):
    room, app = taking(tmp_path, max_bytes=2000, person=lambda request: request.headers["authorization"])

    def sent(person):
        return upload(app, ("a.txt", b"x" * 950), authorization=person)

    first = sent("ada")
    assert (first.status_code, sent("ada").status_code, sent("bob").status_code) == (200, 413, 200)
    room.drop([*first.json(), "/etc/passwd", str(tmp_path / ".." / "other")])
    assert sent("ada").status_code == 200
    assert sent("ada").status_code == 413
    for folder in tmp_path.glob("*/*"):
        os.utime(folder, (0, 0))
    assert sent("ada").status_code == 200
    assert size_of(tmp_path) == 950


def test_files_that_would_take_too_much_room_are_not_added(tmp_path):
    kept, coming = tmp_path / "kept", tmp_path / "a.txt"
    kept.mkdir()
    (kept / "b.txt").write_bytes(b"x" * 600)
    coming.write_bytes(b"x" * 500)
    check_room(kept, [coming], 1100, "what is kept")
    with pytest.raises(DataError, match="what is kept may take 1 KiB"):
        check_room(kept, [coming], 1099, "what is kept")


@pytest.mark.parametrize("number", [3, 100_000, None, True, "a", 1.0])
@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/run/predict/"])
def test_a_function_is_called_if_the_page_has_it(path, number):
    behind = Behind()
    app = guard(behind)
    assert post(app, path, event(fn_index=number)).status_code == 400
    assert behind.bodies == []
    assert post(app, path, event(fn_index=2)).status_code == 200
