"""A server that speaks the chat protocol of OpenAI's clients, on loopback."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer(ThreadingHTTPServer):
    """Answers each chat request with its last message in capitals; fails as often as `failures` says first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures: list[int] = []
        self.requests: list[dict] = []
        self.delay_seconds = 0.0
        self.known_fields: set[str] | None = None

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

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        time.sleep(self.server.delay_seconds)
        if self.server.failures:
            self._send(self.server.failures.pop(), {"error": {"message": "not now"}})
            return
        if self.server.known_fields is not None and (odd := body.keys() - self.server.known_fields):
            self._send(400, {"error": {"message": f"Unrecognized request argument supplied: {', '.join(odd)}"}})
            return
        answer = body["messages"][-1]["content"].upper()
        if not body.get("stream"):
            self._send(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for word in answer.split(" "):
            chunk = {"choices": [{"index": 0, "delta": {"content": word + " "}}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
