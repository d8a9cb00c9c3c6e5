"""Assistants that do not keep to the protocol: over stdin and stdout, and over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from benchmarks.attack.attempt import Attack, Outcome
from rag.models.resolve import rag_home
from rag.serve.history import history_path

SETTINGS = ("retriever.kind=bm25", "reranker.enabled=false", "reader.enabled=false")
SECONDS = 300.0
CALLS = 1_000
CLIENTS = 16
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "attack", "version": "1"}}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
NO_MESSAGES = (
    *("{", "no json", "[1, 2]", '"text"', "null", "1e999", "[" * 200_000, '{"a":' * 100_000, "\udcff\udcfe"),
    *('{"jsonrpc": "1.0", "id": 5, "method": "tools/list"}', '{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}'),
    "x" * 3_000_000,
)
NO_CALLS: tuple[dict[str, Any], ...] = (
    {"name": "delete_everything", "arguments": {}},
    {"name": "../search", "arguments": {"query": "x"}},
    {"name": "search", "arguments": {}},
    {"name": "search", "arguments": {"query": 5}},
    {"name": "search", "arguments": {"query": "x" * 100_000}},
    {"name": "search", "arguments": {"query": "x", "limit": 10**30}},
    {"name": "search", "arguments": {"query": "x", "collections": ["/etc"]}},
    {"name": "fetch", "arguments": {"id": "../../../../etc/passwd"}},
    {"name": "fetch", "arguments": {"id": "\u0000" * 500}},
    {"name": "ask_documents", "arguments": {"question": ""}},
)


def message(number: int, method: str, params: dict[str, Any]) -> str:
    """A request of the protocol, as a line."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def search(number: int) -> str:
    """A search that finds something."""
    return message(number, "tools/call", {"name": "search", "arguments": {"query": "when does the ferry leave"}})


BEGIN = (message(0, "initialize", HELLO), '{"jsonrpc": "2.0", "method": "notifications/initialized"}')


def make_index(folder: Path) -> Path:
    """A small index, by a real `rag ingest`."""
    documents, index = folder / "documents", folder / "index"
    documents.mkdir()
    (documents / "ferry.txt").write_text("The ferry to Tern Island leaves at noon from pier four.\n", "utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "rag", "ingest", str(documents), "-i", str(index)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr.strip()[-500:])
    return index


def command(name: str, index: Path, *more: str) -> list[str]:
    """A `rag` command over the index with settings that load little."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return [sys.executable, "-m", "rag", name, "-i", str(index), *more, *settings]


def say_to(index: Path, lines: Sequence[str], *, ends: bool = True) -> tuple[int, list[str], str]:
    """(exit status, lines on stdout, stderr) of a real `rag mcp` that is told these lines and then the end of stdin.

    Without `ends`, the last line has no end.
    """
    text = "\n".join(lines) + ("\n" if ends and lines else "")
    done = subprocess.run(
        command("mcp", index), input=text.encode("utf-8", "surrogateescape"), capture_output=True, timeout=SECONDS
    )
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def is_clean(status: int, said: Sequence[str], remarks: str) -> bool:
    """Whether it ended by itself, without a traceback, and nothing but messages reached stdout."""
    with contextlib.suppress(ValueError):
        return status == 0 and "Traceback" not in remarks and all(json.loads(line)["jsonrpc"] for line in said)
    return False


def hostile_lines(folder: Path) -> Outcome:
    """Each line that is no message, and each call that is none, has an error; the search behind it is answered."""
    index = make_index(folder)
    calls = [message(100 + n, "tools/call", call) for n, call in enumerate(NO_CALLS)]
    status, said, remarks = say_to(index, [*BEGIN, *NO_MESSAGES, *calls, search(1)])
    replies = [json.loads(line) for line in said]
    by_id = {reply["id"]: reply for reply in replies if reply["id"] is not None}
    nameless = [reply for reply in replies if reply["id"] is None and "error" in reply]
    refused = sum(_is_refused(by_id.get(100 + n, {})) for n in range(len(NO_CALLS)))
    with_errors = len(nameless) + ("error" in by_id.get(5, {}))
    served = bool(by_id.get(1, {}).get("result", {}).get("structuredContent", {}).get("results"))
    held = min(with_errors, len(NO_MESSAGES)) + refused + served + is_clean(status, said, remarks)
    return Outcome(len(NO_MESSAGES) + len(NO_CALLS) + 2, held)


def _is_refused(reply: dict[str, Any]) -> bool:
    return "error" in reply or bool(reply.get("result", {}).get("isError"))


def many_calls(folder: Path) -> Outcome:
    """A thousand searches are sent before the first answer is read, and stdin ends behind them."""
    index = make_index(folder)
    status, said, remarks = say_to(index, [*BEGIN, *(search(n) for n in range(1, CALLS + 1))])
    found = [json.loads(line) for line in said]
    answered = {row["id"] for row in found if row.get("result", {}).get("structuredContent", {}).get("results")}
    clean = is_clean(status, said, remarks)
    return Outcome(CALLS + 1, len(answered) + clean, "" if clean else "it did not end cleanly")


def early_ends(folder: Path) -> Outcome:
    """Stdin ends, or a signal comes, at every point of a conversation."""
    index = make_index(folder)
    begun = [*BEGIN, search(1)]
    held = sum(is_clean(*say_to(index, begun[:n], ends=ends)) for n in range(4) for ends in (True, False))
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(
            command("mcp", index), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write("".join(f"{line}\n" for line in begun).encode())
            process.stdin.flush()
            process.stdout.readline()
            process.send_signal(number)
            try:
                status = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                continue
            held += status == 0 and b"Traceback" not in process.stderr.read()
    return Outcome(10, held)


@contextlib.contextmanager
def chat_over(index: Path) -> Iterator[str]:
    """The address of the tools of a real `rag chat --mcp`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1,localhost"}
    more = ("--port", str(port), "--mcp", "--set", "serving.questions_per_minute=0")
    with (index.parent / "remarks").open("w") as remarks:
        chat = subprocess.Popen(
            command("chat", index, *more), stdout=subprocess.PIPE, stderr=remarks, text=True, env=environment
        )
        try:
            assert chat.stdout is not None
            if "The chat is at" not in chat.stdout.readline():
                raise RuntimeError((index.parent / "remarks").read_text()[-500:])
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            chat.terminate()
            chat.wait(60)
            history_path(rag_home(), index).unlink(missing_ok=True)


def hostile_requests(folder: Path) -> Outcome:
    """Bodies that are no messages, calls that are none, foreign names and pages; then a thousand searches at once."""
    index = make_index(folder)
    with chat_over(index) as address, httpx.Client(trust_env=False, timeout=SECONDS, headers=ACCEPT) as client:
        bodies = [text.encode("utf-8", "surrogateescape") for text in NO_MESSAGES]
        # A request whose id is none is taken for a notification, which is accepted and changes nothing.
        codes = [client.post(address, content=body).status_code for body in bodies]
        held = sum(code == 202 or 400 <= code < 500 for code in codes)
        for call in NO_CALLS:
            reply = client.post(address, content=message(1, "tools/call", call))
            held += _is_refused(reply.json())
        foreign = ({"host": "rebound.example"}, {"origin": "http://evil.example"}, {"content-type": "text/plain"})
        held += sum(400 <= client.post(address, content=search(1), headers=each).status_code < 500 for each in foreign)

        def found(number: int) -> bool:
            reply = client.post(address, content=search(number)).json()
            return bool(reply.get("result", {}).get("structuredContent", {}).get("results"))

        with ThreadPoolExecutor(CLIENTS) as pool:
            held += sum(pool.map(found, range(CALLS)))
        traceback = "Traceback" in (index.parent / "remarks").read_text()
    tried = len(NO_MESSAGES) + len(NO_CALLS) + len(foreign) + CALLS + 1
    return Outcome(tried, held + (not traceback), "the log holds a traceback" if traceback else "")


def _attack(what: str, expected: str, run: Callable[[Path], Outcome]) -> Attack:
    return Attack("assistants (MCP)", what, expected, run)


ATTACKS = (
    _attack(
        "rag mcp is told lines that are no messages (broken, deep, of 3 MB) and calls that are none",
        "each gets an error, and the next call its answer; stdout holds messages alone",
        hostile_lines,
    ),
    _attack(
        f"{CALLS:,} calls before the first answer is read, then the end of stdin",
        "all are answered, and the process ends",
        many_calls,
    ),
    _attack(
        "stdin ends, or Ctrl+C or SIGTERM comes, at every point of a conversation",
        "the process ends with status 0 and without a traceback",
        early_ends,
    ),
    _attack(
        f"/mcp gets bodies that are no messages, foreign names and pages, and {CALLS:,} calls from {CLIENTS} clients",
        "each gets an error that is no failure of the server; every call is answered",
        hostile_requests,
    ),
)
