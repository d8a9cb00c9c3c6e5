"""Whether the chat lives, and whether it can answer: for the programs that keep it running. Nobody has to log in.

    GET /health    200 as long as the process answers at all
    GET /ready     200 once index and models are loaded; before, and once the chat ends, 503 with a sentence

Neither says anything of the documents.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rag.serve.chat import Chat

HEALTH, READY = "/health", "/ready"
RETRY_SECONDS = 5
NOT_LOADED = "The models could not be loaded; the chat's log says why."
ENDS = "The chat is ending."
NOT_KEPT = {"Cache-Control": "no-store"}


def make_health_routes(chat: Chat) -> list[Route]:
    """The two routes."""

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers=NOT_KEPT)

    async def ready(request: Request) -> Response:
        reason = why_not_ready(chat)
        if not reason:
            return JSONResponse({"status": "ready"}, headers=NOT_KEPT)
        headers = {**NOT_KEPT, "Retry-After": str(RETRY_SECONDS)}
        return JSONResponse({"status": "not ready", "detail": reason}, 503, headers)

    return [Route(HEALTH, health), Route(READY, ready)]


def why_not_ready(chat: Chat) -> str:
    """A sentence for a chat that cannot answer now, "" for one that can. Reasons of failures may name folders."""
    if chat.is_closed:
        return ENDS
    if chat.ready:
        return ""
    return chat.status if chat.status.startswith(("Loading", "Models load")) else NOT_LOADED
