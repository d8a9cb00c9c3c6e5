"""What `rag ask` and a running chat say to each other: lines of JSON over a connection within this machine.

    chat   {"nonce"}
    ask    {"nonce", "proof"}            proof of the secret in the chat's note
    chat   {"proof"}                     the same, of the other side: nobody else's server is told the question
    ask    {"question", "index", "settings", "version"}
    chat   {"status"} or {"text"} …      while the answer grows
    chat   {"response"}, or {"refused"}  where this chat would not answer as `rag ask` does

Each proof is an HMAC-SHA256 over both nonces and the side that sends it (RFC 2104), so none can be sent again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import secrets
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rag.types import Answer, Hit, Passage, Place, Query, ReadSpan, Response, Support

if TYPE_CHECKING:
    from rag.config import Settings

HANDSHAKE_SECONDS = 5.0
MAX_REQUEST_BYTES = 1 << 16
MAX_ANSWER_BYTES = 1 << 26
NO_ANSWER = {"training", "web", "serving", "documents", "index", "store"}
"""Settings that shape no answer over an index that is there."""


class Wire:
    """One end of a connection. `most_bytes` is the longest line that it reads."""

    def __init__(self, connection: socket.socket, *, most_bytes: int):
        self._connection, self._most = connection, most_bytes
        self._lines = connection.makefile("rb")

    def send(self, **record: object) -> None:
        """One line; raises OSError where nobody reads it any more."""
        self._connection.sendall(json.dumps(record).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next line; raises OSError where there is none, or it is no JSON object."""
        line = self._lines.readline(self._most)
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConnectionError("not a line of JSON") from error
        if not isinstance(record, dict) or not line.endswith(b"\n"):
            raise ConnectionError("not a whole line of JSON")
        return record

    def records(self) -> Iterator[dict[str, Any]]:
        """The lines that come; raises as `receive`."""
        while True:
            yield self.receive()


def prove_as_chat(wire: Wire, secret: str) -> None:
    """Let in whoever knows the secret, and prove to know it too. Raises ConnectionError for anybody else."""
    nonce = secrets.token_hex(16)
    wire.send(nonce=nonce)
    given = wire.receive()
    theirs = str(given.get("nonce", ""))
    if not _is_proof(given.get("proof"), secret, "ask", nonce, theirs):
        raise ConnectionError("the secret is another one")
    wire.send(proof=_proof(secret, "chat", nonce, theirs))


def prove_as_asker(wire: Wire, secret: str) -> None:
    """Make sure that the other side knows the secret. Raises ConnectionError where it does not."""
    theirs = str(wire.receive().get("nonce", ""))
    nonce = secrets.token_hex(16)
    wire.send(nonce=nonce, proof=_proof(secret, "ask", theirs, nonce))
    if not _is_proof(wire.receive().get("proof"), secret, "chat", theirs, nonce):
        raise ConnectionError("the secret is another one")


def _proof(secret: str, side: str, of_chat: str, of_asker: str) -> str:
    message = "\n".join((side, of_chat, of_asker)).encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _is_proof(given: object, secret: str, side: str, of_chat: str, of_asker: str) -> bool:
    is_text = isinstance(given, str) and given.isascii() and bool(secret)
    return is_text and hmac.compare_digest(str(given), _proof(secret, side, of_chat, of_asker))


def settings_digest(settings: Settings) -> str:
    """A hash of the settings that an answer depends on."""
    record = settings.model_dump(mode="json", exclude=NO_ANSWER)
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def response_record(response: Response) -> dict[str, Any]:
    """A response as JSON, each passage once."""
    passages: dict[Passage, int] = {}

    def hits(found: tuple[Hit, ...]) -> list[list[float]]:
        return [
            [passages.setdefault(hit.passage, len(passages)), hit.score, *([] if hit.logit is None else [hit.logit])]
            for hit in found
        ]

    answer, support = response.answer, response.support
    record = {
        "query": dataclasses.asdict(response.query),
        "retrieved": hits(response.retrieved),
        "reranked": hits(response.reranked),
        "contexts": hits(response.contexts),
        "parts": {name: hits(found) for name, found in response.parts.items()},
        "answer": dataclasses.asdict(answer) if answer else None,
        "spans": {pid: dataclasses.asdict(span) for pid, span in response.spans.items()},
        "excerpts": {pid: [list(span) for span in spans] for pid, spans in response.excerpts.items()},
        "support": dataclasses.asdict(support) if support else None,
        "timings": dict(response.timings),
        "tokens": dict(response.tokens),
        "dropped_contexts": response.dropped_contexts,
        "prompt_sha256": response.prompt_sha256,
    }
    return {**record, "passages": [dataclasses.asdict(passage) for passage in passages]}


def response_of(record: Mapping[str, Any]) -> Response:
    """The response that `response_record` wrote down. Raises KeyError, TypeError or IndexError for anything else."""
    passages = [
        Passage(**{**stored, "place": Place(**stored["place"]) if stored["place"] else None})
        for stored in record["passages"]
    ]

    def hits(found: list) -> tuple[Hit, ...]:
        return tuple(Hit(passages[row], *scores) for row, *scores in found)

    answer, support = record["answer"], record["support"]
    return Response(
        Query(**record["query"]),
        retrieved=hits(record["retrieved"]),
        reranked=hits(record["reranked"]),
        contexts=hits(record["contexts"]),
        parts={name: hits(found) for name, found in record["parts"].items()},
        answer=_answer_of(answer) if answer else None,
        spans={pid: ReadSpan(**span) for pid, span in record["spans"].items()},
        excerpts={pid: tuple((start, end) for start, end in spans) for pid, spans in record["excerpts"].items()},
        support=_support_of(support) if support else None,
        timings=record["timings"],
        tokens=record["tokens"],
        dropped_contexts=record["dropped_contexts"],
        prompt_sha256=record["prompt_sha256"],
    )


def _answer_of(stored: Mapping[str, Any]) -> Answer:
    marks = tuple((offset, tuple(cited)) for offset, cited in stored["marks"])
    return Answer(stored["text"], tuple(stored["citations"]), stored["raw"], marks)


def _support_of(stored: Mapping[str, Any]) -> Support:
    return Support(tuple(stored["word_for_word"]), stored["logit"], stored["agreement"])
