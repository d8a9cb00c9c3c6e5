"""The tools over stdin and stdout, for an assistant that starts `rag mcp` itself.

Nothing but the protocol reaches stdout: what libraries print goes to stderr. A line that is no message is answered with
an error; one that is too long is not kept. The end of stdin, Ctrl+C and SIGTERM end the serving; what was asked before
the end of stdin is still answered while somebody reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import mcp_types as types
from mcp.server.stdio import stdio_server

from rag.serve.mcp_server import ToolServer
from rag.serve.pipes import Pipes

MAX_LINE_BYTES = 2**20
READ_BYTES = 2**16
LINES_AHEAD = 64
SECONDS_TO_ANSWER = 120.0
"""How long after the end of stdin answers are still waited for."""
LOOK_SECONDS = 0.02


def serve_stdio(server: ToolServer, pipes: Pipes) -> None:
    """Serve until stdin ends, or a signal ends it. Afterwards nothing waits for what is still under way."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(server, pipes))
    server.close()


async def _serve(server: ToolServer, pipes: Pipes) -> None:
    loop = asyncio.get_running_loop()
    wire = _Wire(pipes, loop)
    protocol = server.protocol

    async def speak() -> None:
        incoming: Any = wire.lines()
        outgoing: Any = wire
        async with stdio_server(incoming, outgoing) as (read, write):
            await protocol.run(read, write, protocol.create_initialization_options())

    serving = asyncio.ensure_future(speak())
    is_ending = False

    def end() -> None:
        nonlocal is_ending
        is_ending = True
        serving.cancel()

    wire.on_broken = end
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # only in the main thread
            loop.add_signal_handler(number, end)
    try:
        await serving
    except (asyncio.CancelledError, Exception):  # a stream may break while it is being ended
        if not is_ending:
            raise


class _Wire:
    """Lines from and to the assistant, each direction with a thread of its own.

    A thread that waits for a pipe can be neither cancelled nor waited for: both are daemons.
    """

    def __init__(self, pipes: Pipes, loop: asyncio.AbstractEventLoop):
        self._pipes, self._loop = pipes, loop
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(LINES_AHEAD)
        self._outgoing: queue.Queue[str] = queue.Queue()
        self._unanswered: set[object] = set()
        self.on_broken: Any = lambda: None
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._write, daemon=True).start()

    async def lines(self) -> AsyncIterator[str]:
        """Messages, one a line; it ends behind the last one, once everything is answered that can be."""
        while (line := await self._lines.get()) is not None:
            message, problem = _parsed(line)
            if message is None:
                await self.write(json.dumps(problem) + "\n")
                continue
            self._note_incoming(message)
            yield line
        until = time.monotonic() + SECONDS_TO_ANSWER
        # What is answered may still be written by its thread.
        while (self._unanswered or self._outgoing.unfinished_tasks) and time.monotonic() < until:
            if _is_broken(self._pipes.outgoing):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def write(self, text: str) -> None:
        """Send a line."""
        with contextlib.suppress(ValueError):
            self._unanswered.discard(json.loads(text).get("id"))
        self._outgoing.put(text)

    async def flush(self) -> None:
        """Lines are written at once."""

    def _note_incoming(self, message: Any) -> None:
        if isinstance(message, types.JSONRPCRequest):
            self._unanswered.add(message.id)
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self._unanswered.discard((message.params or {}).get("requestId"))

    def _read(self) -> None:
        for line in _lines_of(self._pipes.incoming):
            if not self._give(line):
                return
        self._give(None)

    def _give(self, line: str | None) -> bool:
        """Hand a line to the loop, waiting while it has many; False once the loop has ended."""
        if self._loop.is_closed():
            return False
        putting = self._lines.put(line)
        try:
            asyncio.run_coroutine_threadsafe(putting, self._loop).result()
        except (RuntimeError, asyncio.CancelledError):
            putting.close()
            return False
        return True

    def _write(self) -> None:
        while True:
            data = self._outgoing.get().encode("utf-8", "replace")
            try:
                while data:
                    data = data[os.write(self._pipes.outgoing, data) :]
            except OSError:  # nobody reads any more
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self.on_broken)
                return
            self._outgoing.task_done()


def _lines_of(descriptor: int) -> Any:
    """The lines of a pipe, without blank ones; of one that is too long only so much that it is no message."""
    kept, skipping = b"", False
    while chunk := _read_some(descriptor):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            line, skipped = kept + piece, skipping
            kept, skipping = b"", False
            if skipped or len(line) > MAX_LINE_BYTES:
                yield ""
            elif line.strip():
                yield line.decode("utf-8", "replace")
        if not skipping:
            kept += rest
            kept, skipping = (b"", True) if len(kept) > MAX_LINE_BYTES else (kept, False)
    if skipping:
        yield ""
    elif kept.strip():
        yield kept.decode("utf-8", "replace")


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except OSError:  # closed at the other end
        return b""


def _parsed(line: str) -> tuple[Any, dict[str, Any]]:
    """(the message, {}) or (None, the error that answers a line that is none)."""
    if not line:
        return None, _error(None, types.INVALID_REQUEST, f"a line is longer than {MAX_LINE_BYTES:,} bytes")
    message = None
    with contextlib.suppress(ValueError):
        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    if message is not None and not isinstance(message, types.JSONRPCNotification):
        return message, {}
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None, _error(None, types.PARSE_ERROR, "a line is no JSON; each line is one message")
    if message is not None and "id" not in found:  # with an id that is none, it was meant to be a request
        return message, {}
    given = found.get("id") if isinstance(found, dict) else None
    is_id = isinstance(given, str | int) and not isinstance(given, bool)
    return None, _error(given if is_id else None, types.INVALID_REQUEST, "this is no message of JSON-RPC 2.0")


def _error(request_id: object, code: int, sentence: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": sentence}}


def _is_broken(descriptor: int) -> bool:
    """Whether nobody reads the other end of a pipe any more."""
    looked = select.poll()
    looked.register(descriptor, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in looked.poll(0))


def leave() -> NoReturn:
    """End the process now. The interpreter would wait for threads that still load a model, or use one."""
    sys.stderr.flush()
    os._exit(0)
