"""The API as OpenAI's clients know it, answered by the chat: everything below `/v1`.

    GET  /v1/models, /v1/models/ID       the models: one over all documents, one over each collection, and other
                                         generators that the chat offers, over all documents
    POST /v1/chat/completions            an answer (`rag.serve.api_request`, `rag.serve.api_answer`)
    GET, POST, DELETE /v1/files …        the documents (`rag.serve.api_documents`)

Every error has the form of `rag.serve.api_errors`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from rag.generate.growing import surely as _surely
from rag.progress import Waiting, working_for
from rag.serve.api_answer import Answering
from rag.serve.api_body import MAX_BODY_BYTES, read_json_body
from rag.serve.api_documents import DocumentFiles
from rag.serve.api_errors import ApiError, with_known_errors
from rag.serve.api_request import MODEL, ChatRequest, models_of, read_request, unknown_model
from rag.serve.chat import Chat
from rag.serve.readers import Readers
from rag.serve.turns import Options
from rag.serve.users import RateLimit, Users, address_of, bearer_key

MAX_AT_ONCE = 8
__all__ = ["MAX_AT_ONCE", "MAX_BODY_BYTES", "MODEL", "_surely", "make_router"]


def make_router(
    chat: Chat,
    options: Options,
    *,
    users: Users | None,
    limit: RateLimit,
    collections: Callable[[], Mapping[str, Sequence[Mapping]]] = dict,
    documents: DocumentFiles | None = None,
    readers: Readers | None = None,
) -> APIRouter:
    """The routes. With `users` every request needs the API key of one of them as its bearer token.

    `collections` gives the documents by their collection, and `readers` those that a person may read; by default what
    the users file says. With `documents` they can be listed, and added and deleted where that is allowed.
    """
    readers = readers or Readers(users, collections)
    completions = _Completions(chat, options, _Asker(users), limit, readers)
    routes = [*completions.routes, *(documents.routes(completions.asker, readers) if documents else [])]
    served = with_known_errors(Router(routes))
    router = APIRouter()
    # One application for all below /v1: there is no other form of error, whatever the path and the method.
    router.routes += [Route("/v1", served), Route("/v1/{rest:path}", served)]
    return router


class _Asker:
    """Says who asks."""

    def __init__(self, users: Users | None):
        self._users = users

    def __call__(self, request: Request) -> str:
        """The person whose key a request carries, or without users the address. Raises ApiError (401) for others."""
        if self._users is None:
            return address_of(request.client.host) if request.client else ""
        who = self._users.of_key(bearer_key(request.headers.get("authorization", "")))
        if who is None:
            raise ApiError(
                401, "the API key is missing or wrong", "invalid_api_key", headers={"WWW-Authenticate": "Bearer"}
            )
        return who


class _Completions:
    """Models and chat completions."""

    def __init__(
        self,
        chat: Chat,
        options: Options,
        asker: _Asker,
        limit: RateLimit,
        readers: Readers,
    ):
        self._chat, self._options, self.asker, self._limit, self._readers = chat, options, asker, limit, readers
        self._writers = tuple(chat.writers)
        self._places = threading.BoundedSemaphore(MAX_AT_ONCE)
        self.routes = [
            Route("/v1/models", self.models),
            Route("/v1/models/{model:path}", self.model),
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
        ]

    def models(self, request: Request) -> Response:
        """GET /v1/models."""
        known = list(self._readers.collections(self.asker(request)))
        return JSONResponse({"object": "list", "data": [_model(name) for name in models_of(known, self._writers)]})

    def model(self, request: Request) -> Response:
        """GET /v1/models/ID."""
        name, known = request.path_params["model"], list(self._readers.collections(self.asker(request)))
        if not name:  # the path ends with a slash
            return self.models(request)
        if name != MODEL and name not in [*(f"{MODEL}/{collection}" for collection in known), *self._writers]:
            raise unknown_model(name, known, self._writers)
        return JSONResponse(_model(name))

    async def complete(self, request: Request) -> Response:
        """POST /v1/chat/completions. Others get 401 before their body is read."""
        who = self.asker(request)
        body = await read_json_body(request)
        asked = read_request(body, list(await run_in_threadpool(self._readers.collections, who)), self._writers)
        if (seconds := self._limit.wait_seconds(who)) > 0:
            message = f"too many questions; try again in {seconds:.0f} s"
            raise ApiError(429, message, "rate_limit_exceeded", wait_seconds=seconds)
        if not self._places.acquire(blocking=False):
            message = f"{MAX_AT_ONCE} questions are being answered; try again in a moment"
            raise ApiError(503, message, "overloaded", wait_seconds=1)
        client = _Client(request.receive, self._places)
        try:
            with working_for(client.waiting):
                answer = await run_in_threadpool(self._answer, asked, who)
        except BaseException:
            client.end()
            raise
        if isinstance(answer, dict):
            client.end()
            return JSONResponse(answer)
        return _Streamed(answer, client)

    def _answer(self, asked: ChatRequest, who: str) -> dict | Iterator[str]:
        """The whole answer, or the events of a stream."""
        may_read = self._readers.names(who)
        options = dataclasses.replace(self._options, collections=asked.collections, may_read=may_read)
        options = dataclasses.replace(options, model=asked.writer)
        answering = Answering(self._chat, asked, options)
        return answering.stream() if asked.stream else answering.whole()


class _Client:
    """Whoever waits for an answer at one of the places. What is done for them ends once their connection is closed."""

    def __init__(self, receive: Receive, places: threading.BoundedSemaphore):
        self.waiting = Waiting()
        self._receive, self._places = receive, places
        self._watching = asyncio.ensure_future(self._until_closed())

    async def receive(self) -> Message:
        """The message that says that the connection is closed."""
        return await asyncio.shield(self._watching)

    def end(self) -> None:
        """Give the place back: nothing more is sent."""
        self._watching.cancel()
        self.waiting.leave()
        self._places.release()

    async def _until_closed(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.disconnect":  # the body was read: nothing else can come
            await asyncio.Event().wait()
        self.waiting.leave()
        return message


class _Streamed(StreamingResponse):
    """Server-sent events that give their place back at the end, even where the client leaves before the first one."""

    def __init__(self, events: Iterator[str], client: _Client):
        self._events, self._client = _Events(events), client
        super().__init__(self._events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, self._client.receive, send)
        finally:
            self._client.end()
            # In a thread: an event may be in the making still, which ends soon, since nobody waits for it.
            asyncio.get_running_loop().run_in_executor(None, self._events.close)


class _Events:
    """Events that can be closed by another thread than the one that reads them, between two of them."""

    def __init__(self, events: Iterator[str]):
        self._events, self._lock = events, threading.Lock()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._lock:
            return next(self._events)

    def close(self) -> None:
        """End them where they are."""
        with self._lock:
            if (close := getattr(self._events, "close", None)) is not None:
                close()


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "you"}
