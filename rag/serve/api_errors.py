"""Errors under `/v1` in the form that OpenAI's clients know.

{"error": {"message": "…", "type": "invalid_request_error", "code": "model_not_found", "param": "model"}}
"""

from __future__ import annotations

import math

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.errors import Left
from rag.terminal import plain_logger

LONGEST_NAME = 60
SERVED = "GET /v1/models, POST /v1/chat/completions, and GET, POST and DELETE /v1/files"

log = plain_logger(__name__)


class ApiError(Exception):
    """A request that is not answered: its HTTP status, a sentence, and for programs a code and the field at fault.

    `wait_seconds` says when to try again (`Retry-After`). `headers` are further ones of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "invalid_request",
        param: str | None = None,
        *,
        wait_seconds: float = 0.0,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})
        if wait_seconds > 0:
            self.headers["Retry-After"] = str(math.ceil(wait_seconds))

    def as_json(self) -> dict[str, dict[str, str | None]]:
        """The error as it is sent, also in the middle of a stream."""
        kind = "server_error" if self.status >= 500 else "requests" if self.status == 429 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "code": self.code, "param": self.param}}

    def response(self) -> JSONResponse:
        """The error as a response."""
        return JSONResponse(self.as_json(), self.status, self.headers)


def with_known_errors(served: ASGIApp) -> ASGIApp:
    """An application of which every error has the form that OpenAI's clients know."""
    return _KnownErrors(ExceptionMiddleware(served, {ApiError: _of_ours, HTTPException: _of_http}))


def quoted(name: object) -> str:
    """A name out of a request as it may stand in a message: in quotes, on one line, and not long."""
    text = str(name)
    return repr(text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "…")


class _KnownErrors:
    """Answers what nobody foresaw with an error of ours too, and keeps its details for the log."""

    def __init__(self, served: ASGIApp):
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def noting(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._served({**scope}, receive, noting)
        except ClientDisconnect:
            raise
        except Left as left:  # before the answer began: nobody is there to read this, unless the chat ends
            if not is_begun:
                await ApiError(503, str(left), "overloaded", wait_seconds=1).response()(scope, receive, send)
        except Exception:
            if is_begun:
                raise
            log.exception("a request to the API failed")
            sorry = ApiError(500, "something went wrong; the log of the server says what", "internal_error")
            await sorry.response()(scope, receive, send)


async def _of_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error.response()


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message, code = str(error.detail), "invalid_request"
    if error.status_code == 404:
        message, code = f"{quoted(request.url.path)} is not served; there are {SERVED}", "unknown_url"
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "other methods")
        message = f"{request.method} is not allowed for {quoted(request.url.path)}; use {allowed}"
        code = "method_not_allowed"
    return ApiError(error.status_code, message, code, headers=dict(error.headers or {})).response()
