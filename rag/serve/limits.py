"""How much of a request is read, how long, and how many at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive

BODY_BYTES = 2**20
FORM_BYTES = 2**14
BODY_SECONDS = 20.0
STALL_SECONDS = 20.0
"""An upload may take long, but something of it has to arrive within this time."""
SLOWEST_BYTES_A_SECOND = 2**14
BODIES_AT_ONCE = 64
BODIES_OF_ONE = 32
NESTED = 32
BRACKETS = 50_000
HEADER_BYTES = 2**15
HEADERS = 100
TARGET_BYTES = 2**13


class Refused(Exception):
    """A request that is not served: the status, a sentence that says why, and in how many seconds it may be."""

    def __init__(self, status: int, sentence: str, *, wait_seconds: int | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.wait_seconds = status, sentence, wait_seconds


class ClientLeft(Exception):
    """The client went before its body had arrived: nobody is there to answer."""


def too_large(n_bytes: int) -> Refused:
    """The refusal of a body that is larger than so many bytes."""
    return Refused(413, f"the request is larger than {size_words(n_bytes)}")


def size_words(n_bytes: int) -> str:
    """A number of bytes in words: "one MiB", "16 KiB"."""
    if n_bytes == 2**20:
        return "one MiB"
    return f"{n_bytes / 2**20:,.0f} MiB" if n_bytes >= 2**20 else f"{n_bytes / 1024:,.0f} KiB"


def check_head(path: bytes, query: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Raise Refused where the address or the headers of a request are too long, or too many."""
    if len(path) + len(query) > TARGET_BYTES:
        raise Refused(414, f"the address is longer than {size_words(TARGET_BYTES)}")
    if len(headers) > HEADERS or sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES:
        raise Refused(431, f"more than {HEADERS} headers, or more than {size_words(HEADER_BYTES)} of them")


def announced_bytes(headers: Headers) -> int | None:
    """The length of the body that the headers announce; None where it comes in chunks, of any length."""
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise Refused(400, "the Content-Length is no number")
    return int(length)


class Places:
    """Room for so many at once, and for so many of each address."""

    def __init__(self, total: int, of_one: int):
        self._total, self._of_one = total, of_one
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, who: str) -> Iterator[None]:
        """A place for the time of the context. Raises Refused where there is none."""
        if self._taken.total() >= self._total or self._taken[who] >= self._of_one:
            raise Refused(503, "too many requests are being read; try again in a moment", wait_seconds=1)
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]


async def read_body(receive: Receive, headers: Headers, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body of a request.

    Raises Refused where it is larger than `limit` bytes, before anything is read if it says so, or takes longer than
    `seconds`; ClientLeft where it never ends.
    """
    length = announced_bytes(headers)
    if length is not None and length > limit:
        raise too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                body += message.get("body", b"")
                if len(body) > limit:
                    raise too_large(limit)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise Refused(408, f"the request did not arrive within {seconds:g} s") from error
    return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body was read already: the body, then what comes after it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def parsed(body: bytes) -> Any:
    """The value of a JSON body.

    Raises Refused where it is nested deeper than anything that we read, or holds more lists and objects; ValueError
    where it is no JSON.
    """
    if body.count(b"[") + body.count(b"{") > BRACKETS:
        raise Refused(400, f"the JSON has more than {BRACKETS:,} brackets")
    deeper = Refused(400, f"the JSON is nested deeper than {NESTED}")
    try:
        value = json.loads(body)
    except RecursionError as error:
        raise deeper from error
    level = [value]
    for _ in range(NESTED + 1):
        inner: list = []
        for found in level:
            if isinstance(found, dict):
                inner.extend(found.values())
            elif isinstance(found, list):
                inner.extend(found)
        if not inner:
            return value
        level = inner
    raise deeper


def in_time(receive: Receive, limit: int | None = None, stall_seconds: float = STALL_SECONDS) -> Receive:
    """`receive` of a long body: where it stalls, crawls, or is longer than `limit` bytes, its client counts as gone."""
    n_read, ended, began = 0, False, time.monotonic()

    async def receive_in_time() -> Message:
        nonlocal n_read, ended
        if ended:
            return await receive()
        try:
            async with asyncio.timeout(stall_seconds):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        n_read += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        crawls = time.monotonic() - began > 3 * stall_seconds + n_read / SLOWEST_BYTES_A_SECOND
        return {"type": "http.disconnect"} if crawls or n_read > (limit or n_read) else message

    return receive_in_time
