"""Callers of Gradio's function `ask` who leave while their answer is made: they close the connection, or cancel it.

Gradio takes what waits out of its queue then. What runs already it would run to its end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs

from gradio.context import LocalContext
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.progress import Waiting

MAX_CANCEL_BYTES = 2**12
# A visitor's stream of events, by the name of the visit or, for a single call, by that of its event.
_STREAM = re.compile(r"/gradio_api/(?:queue/data|call/(?:v2/)?[^/]+/([^/]+))")
_CANCEL = re.compile(r"/gradio_api/cancel/?")


def visitor() -> Waiting:
    """The visitor whose event this thread handles, known by the names of their visit and of the event."""
    request, event = LocalContext.request.get(None), LocalContext.event_id.get(None)
    return Waiting(*filter(None, (getattr(request, "session_hash", None), event)))


class NoticeLeaving:
    """An application before Gradio's that calls `left` with the name of a visit, or of an event, that is over early."""

    def __init__(self, app: ASGIApp, left: Callable[[str], object]):
        self._app, self._left = app, left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if _CANCEL.fullmatch(path):
                receive = self._reading_name(receive)
            elif stream := _STREAM.fullmatch(path):
                query = parse_qs(scope["query_string"].decode("latin-1"))
                name = stream[1] or query.get("session_hash", [""])[0]
                receive, send = self._until_closed(name, receive, send)
        await self._app(scope, receive, send)

    def _until_closed(self, name: str, receive: Receive, send: Send) -> tuple[Receive, Send]:
        is_whole = False

        async def receive_and_notice() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and name and not is_whole:
                self._left(name)
            return message

        async def send_and_notice(message: Message) -> None:
            nonlocal is_whole
            is_whole |= message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        return receive_and_notice, send_and_notice

    def _reading_name(self, receive: Receive) -> Receive:
        body = b""

        async def receive_and_read() -> Message:
            nonlocal body
            message = await receive()
            if message["type"] == "http.request" and len(body) <= MAX_CANCEL_BYTES:
                body += message.get("body", b"")
                if not message.get("more_body", False) and (event := _event_named(body)):
                    self._left(event)
            return message

        return receive_and_read


def _event_named(body: bytes) -> str:
    """The name of the event that a request to cancel is about; "" for none."""
    if len(body) > MAX_CANCEL_BYTES:
        return ""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    event = given.get("event_id") if isinstance(given, dict) else None
    return event if isinstance(event, str) else ""
