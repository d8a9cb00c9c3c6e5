"""What every request meets first, whatever it asks for: page, login, API, tools and uploads.

Refused before anything is read: requests from foreign pages or for another name, too large, of the wrong kind, or to
what only people who are logged in may reach. What is read is read whole, within limits of size and time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.serve import limits
from rag.serve.gradio_routes import (
    CALL,
    OF_A_FUNCTION,
    check_event,
    check_session,
    is_before_login,
    is_needed,
    is_of_gradio,
)
from rag.serve.limits import ClientLeft, Places, Refused
from rag.serve.logins import Visits
from rag.serve.origins import READING, Origins
from rag.serve.upload_room import content_type
from rag.serve.users import RateLimit

METHODS = (*READING, "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LOGINS_A_MINUTE = 60
API_FILES = "/v1/files"
PAGE, PAGE_FILES, PAGE_UPLOAD = "/page/", "/page/static/", "/page/documents/files"
JSON, FORM, URLENCODED = "application/json", "multipart/form-data", "application/x-www-form-urlencoded"
API_CODES = {
    401: "invalid_api_key",
    403: "not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
    429: "rate_limit_exceeded",
    503: "overloaded",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What is let in.

    `person` gives the name of who sends a request, None for somebody who is not logged in and has no key; where nobody
    has to, it is always "". `takes_files` says whether files can be added from the page; an upload may hold
    `max_upload_bytes`. `is_function` says whether Gradio has a function of this number.
    """

    origins: Origins
    person: Callable[[Request], str | None]
    takes_files: bool
    max_upload_bytes: int
    is_function: Callable[[int], bool]


class Guard:
    """The application that stands before another one."""

    def __init__(self, app: ASGIApp, rules: Rules):
        self._app, self._rules = app, rules
        self._bodies = Places(limits.BODIES_AT_ONCE, limits.BODIES_OF_ONE)
        self._logins = RateLimit(LOGINS_A_MINUTE)
        self._visits = Visits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nothing here speaks it
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(scope, send, self._rules.origins)
        with contextlib.suppress(ClientLeft):
            try:
                receive = await self._let_in(scope, receive)
            except Refused as refused:
                await _refusal(scope["path"], refused)(scope, receive, send)
                return
            await self._app(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive) -> Receive:
        """What the application is given to read the body from. Raises Refused, or ClientLeft."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        limits.check_head(scope.get("raw_path") or path.encode(), scope["query_string"], scope["headers"])
        if method not in METHODS:
            raise Refused(405, "this method is not known here")
        if not self._rules.origins.hears(headers):
            raise Refused(400, "Invalid host header: the chat is not known by this name")
        if method == "OPTIONS":
            if not self._rules.origins.are_own(headers):
                raise Refused(403, "other web pages may not use this chat")
        elif not self._rules.origins.lets_in(method, headers):
            raise Refused(403, "other web pages may not use this chat")
        if is_of_gradio(path) and not is_needed(method, path):
            raise Refused(404, "there is nothing here")
        person = self._who(scope, method, path)
        scope.setdefault("state", {})["person"] = person or ""
        self._check_visit(scope, path, person)
        if method == "POST" and path.rstrip("/") in (API_FILES, PAGE_UPLOAD):
            return self._taken_in(path.rstrip("/"), headers, receive)
        return await self._read(scope, receive, headers, person)

    def _who(self, scope: Scope, method: str, path: str) -> str | None:
        """Who sends the request; None only where that does not matter. Raises Refused."""
        is_login = path.rstrip("/") == "/login"
        if is_login and method == "POST" and (seconds := self._logins.wait_seconds(_address(scope))) > 0:
            raise Refused(429, "too many tries; wait a minute", wait_seconds=math.ceil(seconds))
        person = self._rules.person(Request(scope))
        if person is not None or method == "OPTIONS" or is_login:
            return person
        is_of_page = path.startswith(PAGE) and not path.startswith(PAGE_FILES)
        if (method not in READING or is_of_page or is_of_gradio(path)) and not is_before_login(path):
            raise Refused(401, "the API key is missing or wrong" if path.startswith("/v1") else "log in first")
        return None

    def _check_visit(self, scope: Scope, path: str, person: str | None, session: str = "") -> None:
        """Raise Refused where a request belongs to somebody else's visit."""
        if not session and is_of_gradio(path):
            query = QueryParams(scope["query_string"])
            given = query.getlist("session_hash")
            if "/heartbeat/" in path:
                given.append(path.rsplit("/", 1)[-1])
            for name in given:
                if name:
                    self._check_visit(scope, path, person, check_session(name))
        elif session and person and not self._visits.is_of(session, person):
            raise Refused(403, "this is somebody else's visit")

    async def _read(self, scope: Scope, receive: Receive, headers: Headers, person: str | None) -> Receive:
        """Read the body, and check it. Raises Refused, or ClientLeft."""
        path = scope["path"]
        if limits.announced_bytes(headers) == 0:
            return receive
        is_login = path.rstrip("/") == "/login"
        kinds = (FORM, URLENCODED) if is_login else (JSON,)
        if content_type(headers) not in kinds:
            raise Refused(415, f"the body has to be {' or '.join(kinds)}")
        with self._bodies.place(_address(scope)):
            body = await limits.read_body(receive, headers, limits.FORM_BYTES if is_login else limits.BODY_BYTES)
        if is_of_gradio(path):
            route = path.rstrip("/")
            is_function = self._rules.is_function if route in OF_A_FUNCTION else None
            session = check_event(body, is_function, is_call=route == CALL)
            self._check_visit(scope, path, person, session)
        elif not is_login:
            with contextlib.suppress(ValueError):  # whoever answers knows best what to say
                limits.parsed(body)
        return limits.replayed(body, receive)

    def _taken_in(self, path: str, headers: Headers, receive: Receive) -> Receive:
        """What an upload is read from. Raises Refused where none may be sent, or not one so large."""
        if path == PAGE_UPLOAD and not self._rules.takes_files:
            raise Refused(403, "files cannot be added here")
        if content_type(headers) != FORM:
            raise Refused(415, f"files are sent as {FORM}")
        most = self._rules.max_upload_bytes
        length = limits.announced_bytes(headers)
        if length is not None and length > most:
            raise limits.too_large(most)
        return limits.in_time(receive, None if path == PAGE_UPLOAD else most)  # the page's form has limits of its own


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _refusal(path: str, refused: Refused) -> Response:
    """The answer to a request that is not let in, in the form that the clients of its path know."""
    headers = {} if refused.wait_seconds is None else {"Retry-After": str(refused.wait_seconds)}
    if path.startswith("/v1"):
        kind = "invalid_request_error" if refused.status < 500 else "server_error"
        code = API_CODES.get(refused.status, kind)
        error = {"message": refused.sentence, "type": kind, "code": code, "param": None}
        if refused.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": error}, refused.status, headers)
    if path.startswith(("/gradio_api", PAGE)):
        return JSONResponse({"detail": refused.sentence}, refused.status, headers)
    return PlainTextResponse(refused.sentence, refused.status, headers)


def _with_headers(scope: Scope, send: Send, origins: Origins) -> Send:
    """`send` with our headers: what may show and read an answer, and how far a cookie goes."""
    asked = Headers(scope=scope)
    # Gradio lets every page read its answers. A page of ours at another address may.
    may_read = "origin" in asked and origins.are_own(asked)
    is_secure = asked.get("origin", "").startswith("https://") or asked.get("x-forwarded-proto", "") == "https"

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=[*message.get("headers", [])])
            for name in [name for name in headers if name.lower().startswith("access-control-") and not may_read]:
                del headers[name]
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            message = {**message, "headers": _cookies(headers.raw, is_secure=is_secure)}
        await send(message)

    return send_with_headers


def _cookies(headers: list[tuple[bytes, bytes]], *, is_secure: bool) -> list[tuple[bytes, bytes]]:
    """The headers, their cookies for our own pages alone; where the page came by TLS, only those that need it."""
    kept = []
    for name, value in headers:
        if name.lower() == b"set-cookie":
            parts = [part.strip() for part in value.split(b";")]
            if is_secure and parts[0].startswith(b"access-token-unsecure-") and not parts[0].endswith(b'=""'):
                continue
            parts = [part for part in parts if not part.lower().startswith(b"samesite")]
            value = b"; ".join([*parts, b"SameSite=Lax"])
        kept.append((name, value))
    return kept
