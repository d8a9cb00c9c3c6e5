"""A real chat over a small index for clients that send whatever they like, and a server that generates for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.attack.attempt import Outcome
from rag.models.resolve import rag_home
from rag.serve.history import history_path

START_SECONDS = 300.0
FEW_MODELS = ("reranker.enabled=false", "reader.enabled=false")
QUESTION = "When does the ferry to the island leave?"
PAGES = {
    "ferry.txt": "The ferry to the island leaves at noon from the old harbour. It costs nine crowns.",
    "dogs.txt": "Dogs travel free of charge on every boat of the company.",
}
Reply = tuple[int, Any]


class Refusing(ThreadingHTTPServer):
    """A generator's server that answers with one sentence, and refuses the fields in `forbidden`, one at a time."""

    daemon_threads = True

    def __init__(self, forbidden: Sequence[str] = ()):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.forbidden, self.n_refused = tuple(forbidden), 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = next((name for name in self.server.forbidden if name in body), None)  # type: ignore[attr-defined]
        if found is not None:
            self.server.n_refused += 1  # type: ignore[attr-defined]
            error = {"message": f"Unsupported parameter: '{found}'", "type": "invalid_request_error", "param": found}
            self._send(400, "application/json", json.dumps({"error": {**error, "code": "unsupported_parameter"}}))
        elif body.get("stream"):
            chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "At noon [1]."}}]})
            self._send(200, "text/event-stream", f"data: {chunk}\n\ndata: [DONE]\n\n")
        else:
            message = {"role": "assistant", "content": "At noon [1]."}
            self._send(200, "application/json", json.dumps({"choices": [{"index": 0, "message": message}]}))

    def _send(self, status: int, media_type: str, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def made_index(scratch: Path) -> Path:
    """A small index of documents, made by `rag ingest`."""
    folder, index = scratch / "boats", scratch / "boats.index"
    folder.mkdir()
    for name, text in PAGES.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "rag", "ingest", str(folder), "-i", str(index)]
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    return index


@contextlib.contextmanager
def served_chat(scratch: Path, index: Path, *more: str) -> Iterator[int]:
    """The port of a real `rag chat` over an index, whose answers a server on this machine writes."""
    generator = Refusing()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = [
        *generated_by(generator),
        "reranker.enabled=false",
        "reader.enabled=false",
        "serving.questions_per_minute=0",
    ]
    command = [sys.executable, "-m", "rag", "chat", "-i", str(index), "--port", str(port), *more]
    command += [word for setting in settings for word in ("--set", setting)]
    with (scratch / "chat.log").open("w") as log:
        chat = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
    try:
        end = time.monotonic() + START_SECONDS
        while not _is_up(port):
            if chat.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the chat did not start: {(scratch / 'chat.log').read_text()[-500:]}")
            time.sleep(0.5)
        yield port
    finally:
        chat.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            chat.wait(30)
        chat.kill()
        generator.shutdown()
        history_path(rag_home(), index).unlink(missing_ok=True)


def generated_by(server: Refusing) -> list[str]:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return ["generator.kind=server", f"generator.server_url={url}", "generator.model=any"]


def environment() -> dict[str, str]:
    """Requests to this machine go through no proxy."""
    return {**os.environ, "NO_PROXY": "127.0.0.1,localhost"}


def _is_up(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return request(port, "GET", "/v1/models")[0] == 200
    return False


def request(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """(status, JSON of the answer, its text where it is none) of a request; a body that is no bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    given = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    if body is not None:
        given.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, body=body, headers=given)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text


def ask(port: int, messages: Any, **fields: Any) -> Reply:
    """(status, answer) of a chat completion."""
    return request(port, "POST", "/v1/chat/completions", {"messages": messages, **fields})


def is_known_error(reply: Reply, *statuses: int) -> bool:
    """Whether a reply is an error in OpenAI's form, with one of the statuses (none: any of 4xx)."""
    status, body = reply
    error = body.get("error") if isinstance(body, dict) else None
    has_form = isinstance(error, dict) and error.keys() == {"message", "type", "code", "param"}
    return has_form and (status in statuses if statuses else 400 <= status < 500)


def counted(results: Sequence[tuple[str, bool]], said: str = "") -> Outcome:
    """The outcome of attempts: (what it was, whether it held) for each."""
    failed = [what for what, held in results if not held]
    return Outcome(len(results), len(results) - len(failed), f"not: {', '.join(failed[:5])}" if failed else said)
