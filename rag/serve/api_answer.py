"""An answer of the chat in OpenAI's frame, whole or as a stream of server-sent events.

The answer's text has its citations at their places and ends with its sources. Message and frame have them as
`citations`, too:

    {"number": 1, "id": "…", "title": "…", "source": "manuals/a.pdf, page 3", "text": "…", "link": "source/…"}

`link` opens the passage in its document, relative to the chat's address. Where a span reader is in use, `"span"` says
where the answer stands in `text`: {"start", "end", "text", "margin"}. Where answers are checked, `"support"` says
how far the cited passages support it: {"line", "word_for_word", "score", "logit", "agreement"}. A refusal is the chat's
sentence, with `"abstained": true`. `"notes"` say what of the request was ignored.
"""

from __future__ import annotations

import collections
import contextlib
import json
import time
import uuid
from collections.abc import Generator, Iterator
from typing import Any, cast

from rag.documents.citation import NOT_IN_DOCUMENTS
from rag.generate.growing import sure_text
from rag.serve.api_errors import ApiError
from rag.serve.api_request import SOURCES, ChatRequest
from rag.serve.asking import citations_record, marked_text
from rag.serve.chat import Chat
from rag.serve.turns import Options, Turn, outcome

SILENT_SECONDS = 10.0
"""After so long without a piece of the answer, a comment tells the client, and what is between, that it goes on."""
STILL_THERE = ": still working\n\n"


class Answering:
    """One answer, whole or as a stream, in OpenAI's frame."""

    def __init__(self, chat: Chat, request: ChatRequest, options: Options):
        self._chat, self._request, self._options = chat, request, options
        self._frame = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": request.model}

    def whole(self) -> dict[str, Any]:
        """The chat completion. Raises ApiError with what the chat says about a failure."""
        (turn,) = collections.deque(self._snapshots(), maxlen=1)
        if turn.error:
            raise _failure(turn)
        beside = self._beside(turn)
        message = {"role": "assistant", "content": _content(turn), **beside}
        return {
            **self._frame,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": _usage(turn),
            **beside,
        }

    def stream(self) -> Iterator[str]:
        """Server-sent events: pieces of the answer that surely stay, then the rest, which ends with the sources.

        Raises ApiError where the question is not even begun to be answered. A later failure becomes an event.
        """
        snapshots = self._snapshots()
        first = next(snapshots)
        if first.error:
            raise _failure(first)
        return self._events(first, snapshots)

    def _events(self, first: Turn, snapshots: Generator[Turn, None, None]) -> Iterator[str]:
        sent, last_sent, turn = "", time.monotonic(), first
        with contextlib.closing(snapshots):
            yield self._chunk({"role": "assistant", "content": ""})
            for turn in snapshots:
                safe = "" if turn.done or turn.response is None else sure_text(turn.response)
                if safe.startswith(sent) and len(safe) > len(sent):
                    yield self._chunk({"content": safe[len(sent) :]})
                    sent, last_sent = safe, time.monotonic()
                elif time.monotonic() - last_sent >= SILENT_SECONDS:
                    yield STILL_THERE
                    last_sent = time.monotonic()
        if turn.error:
            yield _event(_failure(turn).as_json())
        else:
            content = _content(turn)
            yield self._chunk({"content": content[len(sent) :] if content.startswith(sent) else f"\n{content}"})
            yield self._chunk({}, finish_reason="stop", **self._beside(turn))
            if self._request.with_usage:
                frame = {**self._frame, "object": "chat.completion.chunk", "choices": [], "usage": _usage(turn)}
                yield _event(frame)
        yield "data: [DONE]\n\n"

    def _snapshots(self) -> Generator[Turn, None, None]:
        asked = self._chat.ask(self._request.question, self._request.turns, self._options)
        return cast("Generator[Turn, None, None]", asked)

    def _beside(self, turn: Turn) -> dict[str, Any]:
        return {**citations_record(*outcome(turn)), "notes": list(self._request.notes)}

    def _chunk(self, delta: dict, finish_reason: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        usage = {"usage": None} if self._request.with_usage else {}  # as OpenAI's: null in all frames but the last
        return _event({**self._frame, "object": "chat.completion.chunk", "choices": [choice], **usage, **more})


def _event(frame: dict) -> str:
    return f"data: {json.dumps(frame)}\n\n"


def _failure(turn: Turn) -> ApiError:
    if turn.refused:
        return ApiError(400, turn.error, "invalid_question", "messages")
    return ApiError(500, turn.error, "failed")


def _usage(turn: Turn) -> dict[str, int]:
    tokens = outcome(turn)[0].tokens
    usage = {"prompt_tokens": tokens.get("prompt", 0), "completion_tokens": tokens.get("answer", 0)}
    return {**usage, "total_tokens": sum(usage.values())}


def _content(turn: Turn) -> str:
    """The answer's text with its citation marks and, below it, its sources; or the sentence of a refusal."""
    response, answer = outcome(turn)
    if answer.abstained:
        return NOT_IN_DOCUMENTS
    cited = citations_record(response, answer)["citations"]
    if not cited:
        return answer.text
    sources = "\n".join(f"[{c['number']}] {c['title']}: {c['source']}" for c in cited)
    return marked_text(response, answer) + SOURCES + sources
