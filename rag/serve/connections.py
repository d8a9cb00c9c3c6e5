"""How long a connection may take to say what it wants, and how many there may be.

Gradio starts uvicorn without any of this. Its faster reader of HTTP keeps headers of any length in memory, and neither
reader ends a connection that never ends its headers, or goes on sending after it was refused.
"""

from __future__ import annotations

import asyncio
import contextlib

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
LEFTOVER_SECONDS = 10.0
MOST_CONNECTIONS = 1000
OPEN_FILES = 8192


class BoundedConnection(H11Protocol):
    """A connection whose headers have to arrive in time and within 64 KiB. WebSockets are not spoken."""

    most = MOST_CONNECTIONS
    _deadline: asyncio.TimerHandle | None = None
    _waits_for = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Read on, and see whether headers or the rest of a body are still awaited."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The request was answered; what is still sent of it is not waited for long."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """No deadline is left behind."""
        self._wait_for("")
        super().connection_lost(exc)

    def _should_upgrade(self) -> bool:
        return False

    def _watch(self) -> None:
        if self.transport.is_closing():
            self._wait_for("")
        elif self.conn.their_state is h11.IDLE:
            self._wait_for("headers", HEAD_SECONDS)
        elif self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY:
            self._wait_for("rest", LEFTOVER_SECONDS)
        else:
            self._wait_for("")

    def _wait_for(self, what: str, seconds: float = 0.0) -> None:
        """Close the connection in so many seconds, unless something else, or nothing, is waited for by then."""
        if what == self._waits_for:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._waits_for = what
        self._deadline = self.loop.call_later(seconds, self.transport.close) if what else None


def bound_connections(server: uvicorn.Server, app: ASGIApp, *, behind_proxy: bool) -> None:
    """Let a server that runs take its next connections within the bounds.

    Unless it stands behind a proxy that is known, what a request says about where it came from is not believed.
    """
    server.config.http_protocol_class = BoundedConnection
    if not behind_proxy:
        server.config.loaded_app = app
    with contextlib.suppress(ImportError, OSError, ValueError):  # there are systems without such limits
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
