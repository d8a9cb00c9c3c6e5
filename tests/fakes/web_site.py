"""A site on this machine for tests: pages by path, each a function of the request, and a log of what was asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, Mapping[str, str], bytes]


def page(body: str, title: str = "", **headers: str) -> Callable[[Mapping], Reply]:
    """An HTML page that always stands there. Its links stand in a menu, so that their words are no text of the page."""
    body = re.sub(r"(<a .*</a>)", r"<nav>\1</nav>", body)
    text = f"<!doctype html><html><head><title>{title}</title></head><body>{body}</body></html>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda asked: (200, {"Content-Type": "text/html; charset=utf-8", **named}, text.encode())


def reply(status: int, body: bytes = b"", **headers: str) -> Callable[[Mapping], Reply]:
    """Always the same answer."""
    return lambda asked: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class WebSite:
    """A server in a thread. `pages` may be changed while it runs; without an entry for /robots.txt there is none.

    `asked` holds (path, headers) of every request but those for /robots.txt.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[Mapping], Reply]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                if self.path != "/robots.txt":
                    site.asked.append((self.path, headers))
                status, own, body = site.pages.get(self.path, reply(404))(headers)
                self.send_response(status)
                for name, value in own.items():
                    self.send_header(name, value)
                if "Content-Length" not in own:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [path for path, _ in self.asked]

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
