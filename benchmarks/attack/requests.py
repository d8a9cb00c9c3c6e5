"""Hostile requests: too large, too slow, too deep, from foreign pages, past the login, past the limit on questions."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.attack.attempt import Attack, Outcome
from benchmarks.attack.pages import files_of_the_disk, foreign_pages, past_the_limit
from benchmarks.attack.served import JSON_ROUTES, NO_MODEL, QUESTION, UPLOAD, Served, served, settled_peak_mib
from rag.serve.users import Users

BIG = 200 * 2**20
GROWTH_MIB = 128
"""The peak that a server may rise by while it is attacked; it is measured once the models are loaded."""


def _people(folder: Path) -> tuple[Path, str]:
    """A users file with Ada in it, and her API key."""
    path = folder / "users.json"
    return path, Users(path).add("ada", "correct horse")


def _status(client: httpx.Client, method: str, path: str, **request: object) -> int:
    """The status of an answer; 0 where the connection was closed before there was one."""
    try:
        return client.request(method, path, **request).status_code  # type: ignore[arg-type]
    except httpx.TransportError:
        return 0


def _in_chunks(n_bytes: int = BIG) -> Iterator[bytes]:
    for _ in range(n_bytes // 2**20):
        yield b"x" * 2**20


def large_bodies(folder: Path) -> Outcome:
    """Four bodies of 200 MB at once to each of eleven routes, half of them in chunks, without login."""
    users, _ = _people(folder)
    routes = (*JSON_ROUTES, "/login", UPLOAD, "/v1/files", "/mcp", "/gradio_api/cancel", "/")
    statuses: list[int] = []

    def send(chat: Served, path: str, *, chunked: bool) -> None:
        kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
        headers = {"content-type": kind} if chunked else {"content-type": kind, "content-length": str(BIG)}
        with chat.client() as client:
            statuses.append(_status(client, "POST", path, content=_in_chunks(), headers=headers))

    with served(folder, *NO_MODEL, users=users) as chat:
        before = settled_peak_mib(chat)
        for path in routes:
            threads = [
                threading.Thread(target=send, args=(chat, path), kwargs={"chunked": n % 2 == 1}) for n in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        grown, stored = chat.peak_mib() - before, chat.stored_bytes()
        held = sum(status == 0 or 400 <= status < 500 for status in statuses)
        ok = grown < GROWTH_MIB and stored < BIG and chat.is_up()
    return Outcome(len(statuses), held if ok else 0, f"the peak rose by {grown} MiB, {stored:,} bytes were stored")


def slow_requests(folder: Path) -> Outcome:
    """Headers and bodies that never end: each connection is closed, and others are served meanwhile."""
    head = b"Host: localhost\r\nContent-Type: application/json\r\n"
    never_ending = (
        b"",
        b"GET / HTTP/1.1\r\nHost: local",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1000,
        b"POST /gradio_api/queue/join HTTP/1.1\r\n" + head + b"Content-Length: 1000\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"POST /gradio_api/cancel HTTP/1.1\r\n" + head + b"Content-Length: 99999999\r\n\r\n{",
    )
    with served(folder, *NO_MODEL) as chat:
        settled_peak_mib(chat)
        sockets = []
        for n in range(60):
            connection = socket.create_connection(("127.0.0.1", chat.port))
            connection.sendall(never_ending[n % len(never_ending)])
            connection.settimeout(60)
            sockets.append(connection)
        is_up = chat.is_up()
        ended = 0
        for connection in sockets:
            with contextlib.suppress(ConnectionError):
                try:
                    while connection.recv(65536):
                        pass
                except TimeoutError:
                    continue
            ended += 1
            connection.close()
        flood = _flood_of_headers(chat)
    return Outcome(62, ended + is_up + flood, "served meanwhile" if is_up else "not served meanwhile")


def _flood_of_headers(chat: Served) -> bool:
    """Whether 200 MB of headers are cut off, without being kept."""
    before = chat.peak_mib()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", chat.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        for n in range(BIG // 2**16):
            connection.sendall(b"X-%d: " % n + b"a" * 2**16 + b"\r\n")
        return False
    return chat.peak_mib() - before < GROWTH_MIB


def malformed_bodies(folder: Path) -> Outcome:
    """Nested, endless, huge and wrong values: each is refused, none is an error of the server."""
    bodies = [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"data":' + b"[" * 500 + b"]" * 500 + b"}",
        b"{",
        b"\xff\xfe\x00",
        b'{"data": [], "session_hash": "' + b"x" * 10_000 + b'"}',
        b'{"data": [' + b"1" * 10_000 + b"]}",
        b'{"data": {}, "fn_index": {"a": 1}}',
        b'{"data": []}',
        b'{"data": [], "fn_index": 100000, "session_hash": "a"}',
        b'{"messages": "' + b"x" * 500_000 + b'"}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" + b"[]," * 200_000 + b"[]]",
    ]
    tried, bad = 0, []
    with served(folder, *NO_MODEL) as chat, chat.client(headers={"content-type": "application/json"}) as client:
        for path in JSON_ROUTES:
            for body in bodies:
                tried += 1
                if not 400 <= (status := _status(client, "POST", path, content=body)) < 500:
                    bad.append(f"{path} said {status} to {body[:30]!r}")
        for path in (
            "/?" + "a&" * 10_000,
            "/gradio_api/heartbeat/" + "x" * 5000,
            "/gradio_api/queue/data?session_hash=" + "x" * 99,
        ):
            tried += 1
            if not 400 <= _status(client, "GET", path) < 500:
                bad.append(path[:40])
        if not chat.is_up():
            bad = ["it does not answer any more"] * tried
    return Outcome(tried, tried - len(bad), "; ".join(bad[:2]))


def uploads(folder: Path) -> Outcome:
    """600 MB in files where none may be added, without login, and beyond the limit."""
    users, key = _people(folder)
    form = {"content-type": "multipart/form-data; boundary=x"}
    start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield start
        yield from _in_chunks(3 * BIG)

    held = 0
    with served(folder, *NO_MODEL, users=users) as chat, chat.client() as client:
        for path in (UPLOAD, "/v1/files"):
            for headers in ({}, {"authorization": f"Bearer {key}"}):
                held += _status(client, "POST", path, content=body(), headers={**form, **headers}) in (0, 401, 403)
        held += chat.stored_bytes() < BIG
    (folder / "more").mkdir()
    with (
        served(folder / "more", *NO_MODEL, "serving.uploads=on", "serving.max_upload_mib=20") as chat,
        chat.client() as client,
    ):
        before = settled_peak_mib(chat)
        for _ in range(3):
            held += _status(client, "POST", UPLOAD, content=body(), headers=form) in (0, 413)
        field = start.replace(b'; filename="a.txt"', b"") + b"x" * (15 * 2**20)
        held += _status(client, "POST", UPLOAD, content=field, headers=form) == 400
        held += chat.stored_bytes() < 21 * 2**20
        held += chat.peak_mib() - before < GROWTH_MIB
    return Outcome(11, held)


def logins(folder: Path) -> Outcome:
    """Passwords guessed; logins after a removal, another password and a logout; a token that was chosen beforehand."""
    path, key = _people(folder)
    users = Users(path)
    users.add("bob", "battery staple")
    held = 0
    with served(folder, *NO_MODEL, users=path) as chat:

        def log_in(name: str, password: str) -> tuple[int, dict[str, str]]:
            with chat.client() as client:
                answer = client.post(
                    "/login", data={"username": name, "password": password}, headers={"cookie": "access-token-x=chosen"}
                )
                return answer.status_code, {"cookie": "; ".join(f"{n}={v}" for n, v in client.cookies.items())}

        def is_in(cookies: dict[str, str]) -> bool:
            with chat.client(headers=cookies) as client:
                return client.get("/gradio_api/queue/status").status_code == 200

        _, ada = log_in("ada", "correct horse")
        _, bob = log_in("bob", "battery staple")
        held += is_in(ada) and is_in(bob) and "chosen" not in ada["cookie"]
        users.remove("bob")
        held += not is_in(bob)
        users.add("ada", "another horse")
        held += not is_in(ada)
        held += log_in("ada", "correct horse")[0] == 400
        _, again = log_in("ada", "another horse")
        with chat.client(headers=again) as client:
            client.get("/logout")
        held += not is_in(again)
        with chat.client() as client:
            body = {"messages": [{"role": "user", "content": QUESTION}]}
            old = client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
            held += old.status_code == 401
        guesses = [log_in("ada", f"guess {n}")[0] for n in range(15)]
        held += 200 not in guesses
        # Even the right one is not tried any more.
        held += log_in("ada", "another horse")[0] != 200
    return Outcome(8, held)


ATTACKS: tuple[Attack, ...] = (
    Attack(
        "requests",
        "40 bodies of 200 MB to ten routes, four at once, without login",
        "each is refused unread",
        large_bodies,
    ),
    Attack(
        "requests",
        "60 headers and bodies that never end, and 200 MB of headers",
        "closed; others are served",
        slow_requests,
    ),
    Attack("requests", "nested, endless, huge and wrong JSON; long addresses", "refused, no error", malformed_bodies),
    Attack(
        "requests", "foreign pages: sending, reading, asking first, as text, by another name", "refused", foreign_pages
    ),
    Attack(
        "requests",
        "each way to an answer, also from forged addresses, at a limit of 3",
        "3 a minute",
        past_the_limit,
    ),
    Attack(
        "requests", "paths and addresses as uploads; Gradio's routes that read files", "none is read", files_of_the_disk
    ),
    Attack(
        "requests",
        "uploads of 600 MB where they are off, before login, beyond the limit",
        "refused, nothing is kept",
        uploads,
    ),
    Attack(
        "requests", "guessed passwords; logins after a removal, another password, a logout", "none is let in", logins
    ),
)
