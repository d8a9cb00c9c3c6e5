"""The documents as tools for assistants: the Model Context Protocol over HTTP at `/mcp`, beside the chat.

Gradio has a switch for this, but it needs an older protocol library than vLLM does. The tools are those of
`rag.serve.mcp_tools`; over stdio they are served by `rag.serve.mcp_stdio`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import Request
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.errors import RagError
from rag.progress import Waiting
from rag.serve.library import Library, url_below
from rag.serve.mcp_server import ToolServer
from rag.serve.mcp_tools import Asked, DocumentTool, answering_tool, library_tools, reading
from rag.serve.users import LOOPBACK_HOSTS, RateLimit

MAX_BODY_BYTES = 2**20
MAX_WAITING = 64
_WAITING = "rag.waiting"
"""In the scope of a request: who waits for its answer."""


def tools_over(
    library: Library,
    limit: RateLimit,
    who: Callable[[Request], str],
    may_ask: Callable[[Request], bool],
    *,
    local: bool,
) -> DocumentTools:
    """Every tool over a library. Each call counts as a question of `who` sends the request, against `limit`."""

    def admit(asked: Asked) -> None:
        if (seconds := limit.wait_seconds(who(asked.request))) > 0:
            raise RagError(f"too many questions in a minute; ask again in {seconds:.0f} s")

    def url_of(asked: Asked) -> Callable:
        return url_below(str(asked.request.base_url))

    tools = library_tools(library, admit, url_of)
    return DocumentTools(tools, may_ask, local=local, reads=reading(library, admit, url_of), who=who)


class DocumentTools:
    """The protocol's server: `routes` to add to the chat's, and a `lifespan` that must run while they are served.

    `tools` are the tools; or a function that gives the answer to a question as a record, or raises RagError, which
    becomes the one tool `ask_documents`. `may_ask` says whether a request is let in. With `local` only requests to
    localhost are accepted. `reads` reads resources, as for `ToolServer`. `who` says in whose name a request is made.
    """

    def __init__(
        self,
        tools: Sequence[DocumentTool] | Callable[[str, Request], dict],
        may_ask: Callable[[Request], bool],
        *,
        local: bool,
        reads: Callable[[str, Asked], Mapping[str, Any]] | None = None,
        who: Callable[[Request], str] = lambda request: "",
    ):
        if callable(tools):
            answer = tools
            tools = [answering_tool(lambda given, asked: answer(given["question"], asked.request))]
        self._server = ToolServer(tools, partial(_asked_of, who), max_waiting=MAX_WAITING, reads=reads)
        # With `local`, a web page must not reach the tools through a browser on this machine either.
        security = TransportSecuritySettings(
            enable_dns_rebinding_protection=local,
            allowed_hosts=[f"{host}{port}" for host in LOOPBACK_HOSTS for port in ("", ":*")],
            allowed_origins=[f"http://{host}{port}" for host in LOOPBACK_HOSTS for port in ("", ":*")],
        )
        protocol = self._server.protocol
        served = protocol.streamable_http_app(
            stateless_http=True, json_response=True, transport_security=security, max_request_body_size=MAX_BODY_BYTES
        )
        self._manager = protocol.session_manager
        self.routes: list[BaseRoute] = [_guarded(route, may_ask) for route in served.routes if isinstance(route, Route)]

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """The context in which the application that serves the routes has to run."""
        async with self._manager.run():
            yield
        self._server.close()


def _asked_of(who: Callable[[Request], str], context: Any) -> Asked:
    request = context.request
    assert isinstance(request, Request)  # these routes are served over HTTP alone
    return Asked(request, request.scope.get(_WAITING) or Waiting(), who(request))


class _Guard:
    """Lets requests in or not, before their body is read, and notes when the client of one has left."""

    def __init__(self, served: ASGIApp, may_ask: Callable[[Request], bool]):
        self._served, self._may_ask = served, may_ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._may_ask(Request(scope)):
            await JSONResponse({"error": "the API key is missing or wrong"}, 401)(scope, receive, send)
            return
        watched = _Watched(receive)
        try:
            await self._served({**scope, _WAITING: watched.waiting}, watched.receive, send)
        finally:
            watched.end()


class _Watched:
    """The messages of a request. Behind its body it waits by itself for the client to leave, and says so."""

    def __init__(self, receive: Receive):
        self.waiting = Waiting()
        self._receive = receive
        self._watching: asyncio.Task[Message] | None = None

    async def receive(self) -> Message:
        if self._watching is not None:
            return await asyncio.shield(self._watching)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.waiting.leave()
        elif not message.get("more_body", False):
            self._watching = asyncio.ensure_future(self._until_left())
        return message

    async def _until_left(self) -> Message:
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        self.waiting.leave()
        return message

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()


def _guarded(route: Route, may_ask: Callable[[Request], bool]) -> Route:
    return Route(route.path, _Guard(route.app, may_ask), methods=route.methods)
