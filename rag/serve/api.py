"""`/v1/chat/completions` and `/v1/models` as OpenAI's clients know them, answered by the conversation of the chat.

The last user message is the question, earlier turns are what it may follow up on, system messages are not read: the
prompt is ours. The answer ends with its sources, and carries them as `citations` besides:

    {"number": 1, "id": "…", "title": "…", "source": "manuals/a.pdf, page 3", "text": "…",
     "link": "source/…"}

`link` opens the passage in its document, below the chat's address.

A refusal is the sentence of the chat, with `"abstained": true`.
"""

from __future__ import annotations

import collections
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from rag.documents.citation import NOT_IN_DOCUMENTS, place_of
from rag.errors import RagError
from rag.serve.conversation import Conversation
from rag.serve.links import source_link
from rag.serve.turns import Options, Turn
from rag.serve.users import RateLimit, Users
from rag.types import Answer, Query, Response

MODEL = "rag"
SOURCES = "\n\nSources:\n"
MAX_MESSAGES = 100
MAX_AT_ONCE = 8
MAX_BODY_BYTES = 2**20
# What the parser may still take away or turn into a refusal is not sent before the answer is whole.
_UNSURE = re.compile(r"[<\[\"“'\n]|\A\W|\A(?:A|Answer)\b|cannot|CANNOT|Answered by", re.I)
_HELD_BACK_CHARACTERS = 24


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        if self.content is None:
            return ""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class ChatRequest(BaseModel):
    """What is read of a request; sampling parameters are accepted and not used."""

    model_config = ConfigDict(extra="ignore")
    model: str = MODEL
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None


def make_router(conversation: Conversation, options: Options, *, users: Users | None, limit: RateLimit) -> APIRouter:
    """The routes. With `users` every request needs one of their keys as its bearer token."""
    router = APIRouter(prefix="/v1", route_class=_Route)
    places = threading.BoundedSemaphore(MAX_AT_ONCE)

    async def who_asks(request: Request, authorization: Annotated[str, Header()] = "") -> str:
        """The person of the key, else the address; nothing of a body is read for anybody else."""
        if users is None:
            return request.client.host if request.client else ""
        who = users.of_key(authorization.removeprefix("Bearer "))
        if who is None:
            raise HTTPException(401)
        return who

    @router.get("/models")
    def models(who: str = Depends(who_asks)) -> Any:
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "you"}]}

    async def small_body(request: Request, who: str = Depends(who_asks)) -> tuple[str, bytes]:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413)
        return who, body

    @router.post("/chat/completions")
    def completions(asked: tuple[str, bytes] = Depends(small_body)) -> Any:
        who, body = asked
        try:
            request = ChatRequest.model_validate_json(body)
        except ValueError as error:
            return _error(400, f"the request is not understood: {_first(error)}", "invalid_request_error")
        if request.model != MODEL:
            return _error(404, f"there is no model {request.model!r}; there is {MODEL!r}", "model_not_found")
        if request.messages[-1].role != "user" or not request.messages[-1].text.strip():
            return _error(400, "the last message must be a question of the user", "invalid_request_error")
        if (seconds := limit.wait_seconds(who)) > 0:
            return _error(429, f"too many questions; try again in {seconds:.0f} s", "rate_limit_exceeded")
        if not places.acquire(blocking=False):
            return _error(503, f"{MAX_AT_ONCE} questions are being answered; try again in a moment", "overloaded")
        turns = _turns(request.messages[-MAX_MESSAGES:-1])
        answering = _Answering(conversation, request.messages[-1].text, turns, options)
        if request.stream:
            with_usage = request.stream_options is not None and request.stream_options.include_usage
            return _Streamed(answering.stream(with_usage=with_usage), places)
        try:
            return answering.whole()
        finally:
            places.release()

    return router


class _Route(APIRoute):
    """Errors that come before an answer, in the form that clients know."""

    def get_route_handler(self) -> Callable:
        handle = super().get_route_handler()

        async def with_known_errors(request: Request) -> Any:
            try:
                return await handle(request)
            except HTTPException as error:
                if error.status_code == 401:
                    return _error(401, "the API key is missing or wrong", "invalid_api_key")
                return _error(error.status_code, "the request is larger than one MiB", "invalid_request_error")

        return with_known_errors


def _error(status: int, message: str, code: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": code, "param": None}}, status)


def _first(error: ValueError) -> str:
    problems = getattr(error, "errors", list)()
    return f"{'.'.join(map(str, problems[0]['loc']))}: {problems[0]['msg']}" if problems else str(error)


def _turns(messages: Sequence[ChatMessage]) -> list[Turn]:
    """Earlier questions with their answers, the sources that we put under them taken off again."""
    turns: list[Turn] = []
    question = ""
    for message in messages:
        if message.role == "user":
            question = message.text
        elif message.role == "assistant" and question:
            text = message.text.split(SOURCES)[0]
            turns.append(Turn(question, response=Response(Query("", question), answer=Answer(text)), done=True))
            question = ""
    return turns


class _Answering:
    def __init__(self, conversation: Conversation, question: str, turns: Sequence[Turn], options: Options):
        self._snapshots = lambda: conversation.ask(question, turns, options)
        self._frame = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": MODEL}

    def whole(self) -> JSONResponse:
        (turn,) = collections.deque(self._snapshots(), maxlen=1)
        if turn.error:
            return _error(400 if turn.refused else 500, turn.error, "failed")
        message = {"role": "assistant", "content": _content(turn), **_citations(turn)}
        return JSONResponse(
            {
                **self._frame,
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
                "usage": _usage(turn),
                **_citations(turn),
            }
        )

    def stream(self, *, with_usage: bool) -> Iterator[str]:
        sent, turn = "", None
        for turn in self._snapshots():
            if turn.done or turn.response is None or turn.response.answer is None:
                continue
            safe = _surely(turn.response.answer.text)
            if safe.startswith(sent) and len(safe) > len(sent):
                role = {} if sent else {"role": "assistant"}
                yield self._chunk({**role, "content": safe[len(sent) :]})
                sent = safe
        if turn.error:
            failure = {"message": turn.error, "type": "server_error", "code": "failed"}
            yield f"data: {json.dumps({'error': failure})}\n\n"
        else:
            content = _content(turn)
            rest = content[len(sent) :] if content.startswith(sent) else f"\n{content}"
            yield self._chunk({"role": "assistant", "content": rest} if not sent else {"content": rest})
            yield self._chunk({}, finish_reason="stop", **_citations(turn))
            if with_usage:
                frame = {**self._frame, "object": "chat.completion.chunk", "choices": [], "usage": _usage(turn)}
                yield f"data: {json.dumps(frame)}\n\n"
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict, finish_reason: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return (
            f"data: {json.dumps({**self._frame, 'object': 'chat.completion.chunk', 'choices': [choice], **more})}\n\n"
        )


class _Streamed(StreamingResponse):
    """Server-sent events that give their place back at the end, also where the client goes before the first of them."""

    def __init__(self, events: Iterator[str], places: threading.BoundedSemaphore):
        super().__init__(events, media_type="text/event-stream")
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.release()


def _surely(text: str) -> str:
    """The beginning of an unfinished answer that the parser will leave as it is."""
    match = _UNSURE.search(text)
    held = text[: match.start()] if match else text[:-_HELD_BACK_CHARACTERS]
    return held[: held.rfind(" ") + 1] if " " in held else ""


def _usage(turn: Turn) -> dict:
    tokens = turn.response.tokens
    usage = {"prompt_tokens": tokens.get("prompt", 0), "completion_tokens": tokens.get("answer", 0)}
    return {**usage, "total_tokens": sum(usage.values())}


def _content(turn: Turn) -> str:
    answer = turn.response.answer
    if answer.abstained:
        return NOT_IN_DOCUMENTS
    cited = _citations(turn)["citations"]
    marks = "".join(f" [{citation['number']}]" for citation in cited)
    sources = "\n".join(f"[{c['number']}] {c['title']}: {c['source']}" for c in cited)
    return answer.text + marks + (SOURCES + sources if cited else "")


def answer_record(conversation: Conversation, question: str, options: Options) -> dict:
    """A question of its own, answered whole: {"answer": …, "citations": […], "abstained": …}.

    Raises RagError with what the chat would have said of a failure.
    """
    (turn,) = collections.deque(conversation.ask(question, (), options), maxlen=1)
    if turn.error:
        raise RagError(turn.error)
    text = NOT_IN_DOCUMENTS if turn.response.answer.abstained else turn.response.answer.text
    return {"answer": text, **_citations(turn)}


def _citations(turn: Turn) -> dict:
    response = turn.response
    cited = [
        {
            "number": number,
            "id": hit.passage.id,
            "title": hit.passage.title or hit.passage.id,
            "source": place_of(hit.passage),
            "text": hit.passage.text,
            "link": source_link(hit.passage.id),
        }
        for number, hit in enumerate(response.contexts, 1)
        if hit.passage.id in response.answer.citations
    ]
    return {"citations": cited, "abstained": response.answer.abstained}
