"""The door through which a running chat answers `rag ask` of the same person on the same machine.

It listens on this machine alone, and lets in whoever knows the secret in the chat's note (`rag.serve.nearby_note`),
which the chat's owner alone can read. It answers only as `rag ask` itself would: over the same index as it is now, by
the same models and settings. Else it refuses, and `rag ask` loads the models itself.
"""

from __future__ import annotations

import atexit
import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag import __version__
from rag.build.pipelines import depths_of
from rag.build.serving import Serving
from rag.config import Settings
from rag.errors import RagError
from rag.generate.growing import sure_text
from rag.index.folder import serving_manifest
from rag.models.promoted import what_serves
from rag.progress import Waiting, working_for
from rag.serve.chat import Chat
from rag.serve.nearby_note import leave_note, new_note
from rag.serve.nearby_wire import (
    HANDSHAKE_SECONDS,
    MAX_REQUEST_BYTES,
    Wire,
    prove_as_chat,
    response_record,
    settings_digest,
)
from rag.serve.turns import Options
from rag.terminal import plain_logger

MAX_AT_ONCE = 8
LOCAL = "127.0.0.1"
log = plain_logger(__name__)


@dataclass(frozen=True, slots=True)
class Nearby:
    """What is answered: by which chat, over what serves, by which settings.

    `settings` are those of the command: a serving's own leave out models that do not know the language of the index.
    `fingerprint` is that of the passages that are loaded.
    """

    serving: Serving
    settings: Settings
    chat: Chat
    fingerprint: Callable[[], str]


def open_door(nearby: Nearby, address: str) -> Callable[[], None]:
    """Listen for `rag ask` in a thread, and leave a note; returns what ends that. `address` is that of the page.

    Where nothing can be listened on or noted, there is no door, and `rag ask` works as without a chat.
    """
    try:
        listener = socket.create_server((LOCAL, 0))
    except OSError:
        return lambda: None
    secret = secrets.token_hex(32)
    note = leave_note(
        new_note(nearby.serving.index_folder, address, listener.getsockname()[1], secret, __version__),
    )
    if note is None:
        listener.close()
        return lambda: None

    def close() -> None:
        note.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            listener.close()

    atexit.register(close)
    threading.Thread(target=_listen, args=(listener, nearby, secret), daemon=True).start()
    return close


def _listen(listener: socket.socket, nearby: Nearby, secret: str) -> None:
    places = threading.BoundedSemaphore(MAX_AT_ONCE)
    models = models_named(nearby.serving)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the chat ends
            return
        if not places.acquire(blocking=False):
            connection.close()
            continue

        def work(connection: socket.socket = connection) -> None:
            try:
                _serve(connection, nearby, secret, models)
            except OSError:
                return  # whoever asked has left, or is somebody else
            except Exception:
                log.exception("a question of rag ask failed")
            finally:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
                places.release()

        threading.Thread(target=work, daemon=True).start()


def _serve(connection: socket.socket, nearby: Nearby, secret: str, models: tuple[str, ...]) -> None:
    connection.settimeout(HANDSHAKE_SECONDS)
    wire = Wire(connection, most_bytes=MAX_REQUEST_BYTES)
    prove_as_chat(wire, secret)
    asked = wire.receive()
    connection.settimeout(None)
    if reason := why_not(asked, nearby, models):
        wire.send(refused=reason)
        return
    waiting = Waiting()
    threading.Thread(target=_watch, args=(connection, waiting), daemon=True).start()
    with working_for(waiting):
        for record in _answers(nearby, str(asked["question"])):
            wire.send(**record)


def _answers(nearby: Nearby, question: str) -> Iterator[dict]:
    """The lines that answer a question; `refused` in the place of an error, which `rag ask` then meets itself."""
    settings, said = nearby.serving.settings, ""
    options = Options(settings.retriever.kind, depths_of(settings))
    for turn in nearby.chat.ask(question, (), options):
        if turn.error or (turn.done and turn.response is None):
            yield {"refused": turn.error}
        elif turn.done and turn.response is not None:
            yield {"response": response_record(turn.response)}
        elif turn.response is not None and (text := sure_text(turn.response)):
            yield {"text": text}
        elif turn.status and turn.status != said:
            said = turn.status
            yield {"status": said}


def why_not(asked: dict, nearby: Nearby, models: tuple[str, ...]) -> str:
    """Why a question cannot be answered here as `rag ask` would; "" where it can. `models` served at the start."""
    serving = nearby.serving
    if asked.get("version") != __version__:
        return "another version"
    if asked.get("index") != str(Path(serving.index_folder).resolve()):
        return "another index"
    if asked.get("settings") != settings_digest(nearby.settings):
        return "other settings"
    if not isinstance(asked.get("question"), str):
        return "no question"
    try:
        if models_named(serving) != models:
            return "another model was promoted"
        if serving_manifest(serving.index_folder)[1].fingerprint != nearby.fingerprint():
            return "the index has changed"
    except RagError as error:
        return str(error)
    return ""


def models_named(serving: Serving) -> tuple[str, ...]:
    """What serves now in the place of each model that the settings name."""
    settings = serving.settings
    names = settings.encoder.model, settings.reranker.model, settings.reader.model, settings.generator.model
    return tuple(map(what_serves, names))


def _watch(connection: socket.socket, waiting: Waiting) -> None:
    """Nobody waits any more once the connection is closed."""
    with contextlib.suppress(OSError):
        connection.recv(1)
    waiting.leave()
