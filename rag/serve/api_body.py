"""The body of a request to the API: read within a limit, and taken as JSON only where it is sound."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import Request

from rag.serve.api_errors import ApiError, quoted

MAX_BODY_BYTES = 2**20
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.I | re.S)
_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that may be half a surrogate pair


async def read_json_body(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises ApiError: 415 for another media type, 413 for more than MAX_BODY_BYTES, 400 for what is no JSON object.
    """
    _check_media_type(request)
    return json_object(await _read(request))


def _check_media_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "")
    if media_type and not _JSON.fullmatch(media_type):
        message = f"the body must be JSON, not {quoted(media_type)}; send it with Content-Type: application/json"
        raise ApiError(415, message, "unsupported_media_type")
    if (encoding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        message = f"the body is packed ({quoted(encoding)}); send it without Content-Encoding"
        raise ApiError(415, message, "unsupported_media_type")


async def _read(request: Request) -> bytes:
    too_large = ApiError(413, "the request is larger than one MiB", "request_too_large")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    return bytes(body)


def json_object(body: bytes) -> dict[str, Any]:
    """The object that a body is in JSON.

    Raises ApiError (400) for what is not UTF-8, no JSON (NaN is none), nested too deeply, no object, or ambiguous:
    a key that appears twice, or half a surrogate pair.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8 (byte {error.start:,})", "invalid_encoding") from error
    try:
        value = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_number)
        if _HALF_A_PAIR.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ApiError(400, "the JSON of the body is nested too deeply", "invalid_json") from error
    except UnicodeEncodeError as error:
        message = "the body holds half a surrogate pair, such as \\ud800, which is no character"
        raise ApiError(400, message, "invalid_json") from error
    except ValueError as error:
        raise ApiError(400, f"the body is no JSON: {error}", "invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError(400, 'the body must be a JSON object, such as {"messages": […]}', "invalid_type")
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {quoted(key)} appears twice")
        found[key] = value
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
