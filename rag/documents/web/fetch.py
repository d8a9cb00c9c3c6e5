"""One request for one address: within limits of size and time, unpacked within the same limit."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.errors import UnreadableFile

if TYPE_CHECKING:
    import httpx

WINDOWS_OF_ZLIB = {"gzip": 31, "x-gzip": 31, "deflate": 47}
AGENT = "rag-qa"
"""The name by which robots.txt may address this program."""


class NotReached(UnreadableFile):
    """No answer came: the machine is down, too slow, unknown or private, or its certificate is wrong."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its status, its headers by small letters, and the unpacked body of a 200."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def content_type(self) -> str:
        """The type without its parameters, in small letters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset that the header names; "" for none."""
        for part in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = part.partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip("\"'").lower()
        return ""


class _Deadline:
    """Cuts connections off after a time: a server that sends a byte now and then never runs into a timeout.

    `sockets` are those of open connections, also of those that earlier requests have left.
    """

    def __init__(self, sockets: list[socket.socket], seconds: float):
        self.is_over = False
        self._sockets = sockets
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the sockets of connections, of which httpcore tells. Raises ConnectTimeout when the time is over."""
        if self.is_over and event.startswith("connection."):
            import httpx

            raise httpx.ConnectTimeout("the time for this page is over")
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sockets[:] = [known for known in self._sockets if known.fileno() >= 0]  # the others are closed
            if (opened := info["return_value"].get_extra_info("socket")) is not None:
                self._sockets.append(opened)

    def _cut(self) -> None:
        self.is_over = True
        for opened in list(self._sockets):
            with contextlib.suppress(OSError):
                # Not that of an SSLSocket, which is no matter for two threads.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


class Fetcher:
    """Asks for addresses, one after the other, no faster than it may, over connections of one transport.

    `transport` is `checked_transport`. Every page may hold `max_bytes`, and take `seconds_per_page`.
    """

    def __init__(
        self, transport: httpx.BaseTransport, *, max_bytes: int, seconds_per_page: float, seconds_between: float
    ):
        import httpx

        from rag import __version__

        self.seconds_between = seconds_between
        self._max_bytes = max_bytes
        self._seconds = seconds_per_page
        self._last = -1e9
        self._sockets: list[socket.socket] = []
        headers = {"User-Agent": f"{AGENT}/{__version__}", "Accept": "*/*", "Accept-Encoding": "gzip"}
        timeout = httpx.Timeout(min(seconds_per_page, 20.0))
        self._client = httpx.Client(transport=transport, headers=headers, timeout=timeout, follow_redirects=False)
        # Only what a single request carries is sent: no page sets a cookie for another.
        self._client.cookies.jar.clear()

    def get(self, address: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer of a server. Raises NotReached where none comes, UnreadableFile for one that is too large."""
        import httpx

        time.sleep(max(0.0, self._last + self.seconds_between - time.monotonic()))
        deadline = _Deadline(self._sockets, self._seconds)
        own = {"trace": deadline.trace}
        try:
            with deadline, self._client.stream("GET", address, headers=dict(headers or {}), extensions=own) as response:
                body = self._body(response) if response.status_code == 200 else b""
                answer = Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)
            if deadline.is_over:  # a body that ends with its connection may have been cut short
                raise self._too_slow()
            return answer
        except httpx.TimeoutException as error:
            if deadline.is_over:
                raise self._too_slow() from error
            raise NotReached(f"did not answer within {min(self._seconds, 20.0):g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            if deadline.is_over:
                raise self._too_slow() from error
            raise NotReached(f"cannot be reached: {str(error)[:200] or type(error).__name__}") from error
        finally:
            self._client.cookies.jar.clear()
            self._last = time.monotonic()

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    def _body(self, response: httpx.Response) -> bytes:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and len(announced) < 18 and int(announced) > self._max_bytes:
            raise self._too_large()
        chunks = self._in_time(response.iter_raw())
        if encoding in WINDOWS_OF_ZLIB:
            chunks = _unpacked(chunks, WINDOWS_OF_ZLIB[encoding], self._max_bytes)
        elif encoding not in ("", "identity"):
            raise UnreadableFile(f"is sent packed in a way that was not asked for ({encoding[:20]})")
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > self._max_bytes:
                raise self._too_large()
        return bytes(body)

    def _in_time(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        end = time.monotonic() + self._seconds
        for chunk in chunks:
            if time.monotonic() > end:
                raise self._too_slow()
            yield chunk

    def _too_slow(self) -> NotReached:
        return NotReached(f"took longer than {self._seconds:g} s (web.max_seconds_per_page)")

    def _too_large(self) -> UnreadableFile:
        return UnreadableFile(f"larger than the limit of {self._max_bytes / 2**20:,.0f} MiB (web.max_page_mib)")


def _unpacked(chunks: Iterator[bytes], window: int, max_bytes: int) -> Iterator[bytes]:
    """A packed body, unpacked in pieces of at most the limit and a byte: a small one may unpack to anything."""
    unpack = zlib.decompressobj(window)
    is_begun = False
    try:
        for chunk in chunks:
            while chunk:
                if unpack.eof:  # another member follows
                    unpack = zlib.decompressobj(window)
                is_begun = True
                yield unpack.decompress(chunk, max_bytes + 1)
                chunk = unpack.unconsumed_tail or unpack.unused_data
        yield unpack.flush(max_bytes + 1)
    except zlib.error as error:
        raise UnreadableFile(f"is damaged ({error})") from error
    if is_begun and not unpack.eof:
        raise UnreadableFile("is cut short")
