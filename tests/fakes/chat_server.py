"""A server that speaks the chat protocol of OpenAI's clients, on loopback."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer(ThreadingHTTPServer):
    """Answers each chat request with its last message in capitals; fails as often as `failures` says first.

    `refusal` gives the status and the JSON with which a body is refused, None for one that is answered. `pages` are
    the JSON records that it gives by their path, `key` the one that it wants to be asked with, "" for none.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures: list[int] = []
        self.requests: list[dict] = []
        self.delay_seconds = 0.0
        self.known_fields: set[str] | None = None
        self.pages: dict[str, object] = {}
        self.asked: list[str] = []
        self.key = ""
        self.finish_reason: str | None = None
        self.answer: str | None = None
        self.refusal: Callable[[dict], tuple[int, object] | None] = lambda body: None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextlib.contextmanager
def running() -> Iterator[ChatServer]:
    """A server that listens until the end of the block."""
    server = ChatServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._send(401, {"error": {"message": "wrong key"}})
        elif self.path in self.server.pages:
            self._send(200, self.server.pages[self.path])
        else:
            self._send(404, {"error": {"message": "nothing here"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path in self.server.pages:
            self.server.asked.append(f"{self.path} {body['model']}")
            self._send(200, self.server.pages[self.path])
            return
        self.server.requests.append(body)
        time.sleep(self.server.delay_seconds)
        if self.server.failures:
            self._send(self.server.failures.pop(), {"error": {"message": "not now"}})
            return
        if self.server.known_fields is not None and (odd := body.keys() - self.server.known_fields):
            self._send(400, {"error": {"message": f"Unrecognized request argument supplied: {', '.join(odd)}"}})
            return
        if (refused := self.server.refusal(body)) is not None:
            self._send(*refused)
            return
        answer = body["messages"][-1]["content"].upper() if self.server.answer is None else self.server.answer
        ended = {} if self.server.finish_reason is None else {"finish_reason": self.server.finish_reason}
        if not body.get("stream"):
            self._send(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, **ended}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for word in answer.split(" "):
            chunk = {"choices": [{"index": 0, "delta": {"content": word + " "}, **ended}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
