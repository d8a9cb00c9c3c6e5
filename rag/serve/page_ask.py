"""`POST /page/ask`: a question of the page, answered as a stream of JSON lines.

    {"event": "turn", "conversation", "title", "number"}     the turn is kept from now on
    {"event": "view", "view": VIEW}                          what there is so far, again and again (`rag.serve.view`)
    {"event": "done", "view": VIEW}                          the end
    {"event": "error", "text"}                               instead of it, where nothing could be answered at all

A client stops by closing its connection. What is done for it ends at the next step, or the next token, and what there
is stays kept. The places to be answered at are shared by all; further questions wait in line, and hear how long it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rag.errors import RagError
from rag.progress import Waiting
from rag.serve.answering import Answering
from rag.serve.api_body import read_json_body
from rag.serve.api_errors import ApiError
from rag.serve.asked import Asked, options_of, read_asked
from rag.serve.own_files import check_key
from rag.serve.page_parts import PageParts

AT_ONCE = 8
SECONDS_BETWEEN_SIGNS = 0.5
SECONDS_BETWEEN_VIEWS = 0.08


def make_ask_router(parts: PageParts) -> APIRouter:
    """The route."""
    router, asking = APIRouter(), Asking(parts)
    router.add_api_route("/page/ask", asking.ask, methods=["POST"], include_in_schema=False)
    return router


class Asking:
    """The questions of the page that are being answered, and those that wait for their turn."""

    def __init__(self, parts: PageParts):
        self._parts = parts
        self._places = ThreadPoolExecutor(AT_ONCE, "page-ask")
        self._line: list[Answering] = []
        self._running: dict[tuple[str, str], Answering] = {}
        self._lock = threading.Lock()

    async def ask(self, request: Request) -> Response:
        """Keep the turn, and answer it. Raises HTTPException where nothing can be asked now."""
        parts = self._parts
        person = parts.person(request)
        try:
            asked = read_asked(await read_json_body(request), parts)
        except ApiError as error:
            raise HTTPException(error.status, f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
        if not asked.question.strip():
            raise HTTPException(400, "Type a question first.")
        if len(self._line) >= parts.max_waiting:
            raise HTTPException(503, "Too many questions are waiting; ask again in a moment.", {"Retry-After": "5"})
        if (seconds := parts.access.limit.wait_seconds(parts.asker(request))) > 0:
            wait = {"Retry-After": f"{seconds:.0f}"}
            raise HTTPException(429, f"Too many questions in a minute; ask again in {seconds:.0f} s.", wait)
        answering = await run_in_threadpool(self._begin, person, asked)
        return _Lines(self._lines(answering), answering.waiting, lambda: self._gone(answering))

    def _begin(self, person: str, asked: Asked) -> Answering:
        """Keep the turn from now on. What is still being answered in the same conversation stops."""
        self._leave(person, asked.conversation)
        try:
            check_key(self._parts, person, asked.attached)
            options = options_of(asked, "", person, self._parts)  # before anything is kept: it may be refused
            about = {"model": asked.model} if asked.model else {}
            begun = self._parts.history.begin(
                person,
                asked.conversation,
                asked.question,
                from_turn=asked.from_turn,
                attached=asked.attached,
                about=about,
            )
        except RagError as error:
            raise HTTPException(400, str(error)) from error
        options = options_of(asked, begun.attached, person, self._parts) if begun.attached else options
        answering = Answering(self._parts, person, begun, asked, options)
        with self._lock:
            self._line.append(answering)
            self._running[person, begun.conversation] = answering
        return answering

    def _leave(self, person: str, conversation: str) -> None:
        """End what is being answered in a conversation, and wait for it to be kept as it is."""
        with self._lock:
            running = self._running.get((person, conversation))
        if running is not None:
            running.waiting.leave()
            running.ended.wait(5.0)

    async def _lines(self, answering: Answering) -> AsyncIterator[bytes]:
        loop, begun = asyncio.get_running_loop(), answering.begun
        changed = asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(changed.set)

        answering.listen(tell)
        work = loop.run_in_executor(self._places, self._work, answering)
        work.add_done_callback(lambda _: changed.set())
        yield _line("turn", conversation=begun.conversation, title=begun.title, number=begun.number)
        while not work.done():
            answering.ahead = self._ahead(answering)
            yield _line("view", view=await run_in_threadpool(answering.view))
            await asyncio.wait([work], timeout=SECONDS_BETWEEN_VIEWS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), SECONDS_BETWEEN_SIGNS)
            changed.clear()
        if problem := work.result():
            yield _line("error", text=problem)
        else:
            yield _line("done", view=await run_in_threadpool(answering.view))

    def _work(self, answering: Answering) -> str:
        """Answer a question at one of the places; returns what went wrong with keeping it, "" for nothing."""
        with self._lock:
            if answering not in self._line:
                return ""  # they left while they waited
            self._line.remove(answering)
        return self._run(answering)

    def _gone(self, answering: Answering) -> None:
        """Whoever asked has left: where they still waited, their turn is kept as stopped, and their place is free."""
        with self._lock:
            if answering not in self._line:
                return
            self._line.remove(answering)
        self._run(answering)

    def _run(self, answering: Answering) -> str:
        try:
            return answering.work()
        finally:
            with self._lock:
                key = answering.person, answering.begun.conversation
                if self._running.get(key) is answering:
                    del self._running[key]

    def _ahead(self, answering: Answering) -> int:
        """How many wait before this one."""
        with self._lock:
            return self._line.index(answering) if answering in self._line else 0


class _Lines(StreamingResponse):
    """A stream of lines. Its client has left once the connection is closed, also before the first line.

    `gone` is called in a thread once nothing more is sent.
    """

    def __init__(self, lines: AsyncIterator[bytes], waiting: Waiting, gone: Callable[[], None]):
        super().__init__(lines, media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})
        self._waiting, self._gone = waiting, gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def until_closed() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._waiting.leave()

        watching = asyncio.ensure_future(until_closed())

        async def nothing_more() -> Any:
            await asyncio.shield(watching)
            return {"type": "http.disconnect"}

        try:
            await super().__call__(scope, nothing_more, send)
        finally:
            watching.cancel()
            self._waiting.leave()
            asyncio.get_running_loop().run_in_executor(None, self._gone)


def _line(event: str, **what: Any) -> bytes:
    return json.dumps({"event": event, **what}, ensure_ascii=False).encode() + b"\n"
