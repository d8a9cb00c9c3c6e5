"""A model hub on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one repository, `tiny/model`, the way the model hub does."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        self.requests = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _HubHandler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        path = self.path.split("?")[0]
        self.server.requests.append(path)
        resolve_prefix = f"/tiny/model/resolve/{COMMIT}/"
        if path.startswith("/api/models/tiny/model/tree"):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.server.files.items()
            ]
            self._send(json.dumps(entries).encode(), with_body)
        elif path.startswith("/api/models/tiny/model"):
            siblings = [{"rfilename": name} for name in self.server.files]
            info = {"id": "tiny/model", "modelId": "tiny/model", "sha": COMMIT, "siblings": siblings}
            self._send(json.dumps(info).encode(), with_body)
        elif path.startswith("/api/models"):
            self._send(b"[]", with_body) if path == "/api/models" else self.send_error(404)
        elif path.startswith(resolve_prefix) and path[len(resolve_prefix) :] in self.server.files:
            self._send(self.server.files[path[len(resolve_prefix) :]], with_body)
        else:
            self.send_error(404)

    def _send(self, data, with_body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(data)


RESOLVE = (
    "import sys; from rag.models.resolve import resolve; m = resolve(sys.argv[1], needs=sys.argv[2:]); "
    "print(m.source); print(m.folder)"
)


def resolve_elsewhere(name, endpoint, home, *needs):
    return elsewhere(RESOLVE, endpoint, home, name, *needs)


def elsewhere(program, endpoint, home, *arguments):
    """In a process of its own: huggingface_hub reads its settings when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf"), "RAG_HOME": str(home / "rag")}
    environment.pop("HF_HUB_OFFLINE", None)
    environment["HF_HUB_DISABLE_XET"] = "1"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)
