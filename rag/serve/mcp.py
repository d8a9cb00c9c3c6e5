"""The documents as a tool for assistants: the Model Context Protocol over HTTP at `/mcp`, beside the chat.

One tool, `ask_documents`, answers as the chat does: a short answer with its citations, or that the documents do not
hold it. Gradio has a switch for this, but it needs an older protocol library than vLLM does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Request
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.errors import RagError
from rag.serve.users import LOOPBACK_HOSTS

MAX_AT_ONCE = 8
INSTRUCTIONS = (
    "Answers questions from this person's own documents and cites the passages. "
    "`abstained` true means that the documents do not hold the answer: say so instead of guessing. "
    "`support` says in its `line` how far the cited passages support the answer: say so where they do weakly."
)


class DocumentTools:
    """The protocol's server: `routes` to add to the chat's, and a `lifespan` that must run while they are served.

    `answer` gives the answer to a question as a record, or raises RagError. `may_ask` says whether a request is let in.
    With `local` only requests to localhost are accepted.
    """

    def __init__(self, answer: Callable[[str, Request], dict], may_ask: Callable[[Request], bool], *, local: bool):
        server = MCPServer("rag", instructions=INSTRUCTIONS, log_level="WARNING")
        places = ThreadPoolExecutor(MAX_AT_ONCE)

        @server.tool(structured_output=False)
        async def ask_documents(question: str, context: Context) -> dict[str, Any]:
            """Answer a standalone question from the documents: the answer, its citations, and whether it abstained."""
            request = context.request_context.request
            assert isinstance(request, Request)  # the tool is served over HTTP alone
            try:
                return await asyncio.get_running_loop().run_in_executor(places, answer, question, request)
            except RagError as error:
                return {"error": str(error)}

        # With `local`, a web page must not reach the tool through a browser on this machine either.
        security = TransportSecuritySettings(
            enable_dns_rebinding_protection=local,
            allowed_hosts=[f"{host}{port}" for host in LOOPBACK_HOSTS for port in ("", ":*")],
            allowed_origins=[f"http://{host}{port}" for host in LOOPBACK_HOSTS for port in ("", ":*")],
        )
        served = server.streamable_http_app(stateless_http=True, json_response=True, transport_security=security)
        self._manager = server.session_manager
        self.routes: list[BaseRoute] = [_guarded(route, may_ask) for route in served.routes if isinstance(route, Route)]

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """The context in which the application that serves the routes has to run."""
        async with self._manager.run():
            yield


class _Guard:
    def __init__(self, served: ASGIApp, may_ask: Callable[[Request], bool]):
        self._served, self._may_ask = served, may_ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = self._may_ask(Request(scope))
        served = self._served if allowed else JSONResponse({"error": "the API key is missing or wrong"}, 401)
        await served(scope, receive, send)


def _guarded(route: Route, may_ask: Callable[[Request], bool]) -> Route:
    return Route(route.path, _Guard(route.app, may_ask), methods=route.methods)
