"""A question answered by a chat that runs over the same index: its models are loaded already."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from rag import __version__
from rag.config import Settings
from rag.generate.growing import Growing
from rag.serve.nearby_note import ChatNote, notes_of
from rag.serve.nearby_wire import (
    HANDSHAKE_SECONDS,
    MAX_ANSWER_BYTES,
    Wire,
    prove_as_asker,
    response_of,
    settings_digest,
)

CONNECT_SECONDS = 1.0


class Gone(Exception):
    """No chat answered to the end."""


def ask_nearby(index: Path, settings: Settings, question: str) -> Iterator[Growing]:
    """The steps of an answer, as `rag.generate.growing` makes them, by a chat of the same person over the same index.

    Raises Gone where there is none, it would answer otherwise than these settings do, or it ends before its answer.
    """
    for note in notes_of(index):
        if note.version == __version__ and (found := _connect(note)) is not None:
            connection, wire = found
            with contextlib.closing(connection):
                yield from _steps(wire, index, settings, question)
            return
    raise Gone


def is_running(note: ChatNote) -> bool:
    """Whether the chat of a note runs, and is the one that left it."""
    if (found := _connect(note)) is None:
        return False
    found[0].close()
    return True


def _connect(note: ChatNote) -> tuple[socket.socket, Wire] | None:
    """A connection to a chat that knows its secret; None where there is none."""
    with contextlib.suppress(OSError, OverflowError):
        connection = socket.create_connection(("127.0.0.1", note.port), CONNECT_SECONDS)
        try:
            connection.settimeout(HANDSHAKE_SECONDS)
            wire = Wire(connection, most_bytes=MAX_ANSWER_BYTES)
            prove_as_asker(wire, note.secret)
        except BaseException:
            connection.close()
            raise
        connection.settimeout(None)
        return connection, wire
    return None


def _steps(wire: Wire, index: Path, settings: Settings, question: str) -> Iterator[Growing]:
    try:
        wire.send(
            question=question, index=str(index.resolve()), settings=settings_digest(settings), version=__version__
        )
        for record in wire.records():
            if "response" in record:
                yield Growing(response=response_of(record["response"]))
                return
            if "refused" in record:
                raise Gone
            yield Growing(str(record.get("status", "writing")), str(record.get("text", "")))
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Gone from error
