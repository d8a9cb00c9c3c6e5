"""`/v1/chat/completions` and `/v1/models` as OpenAI's clients know them, answered by the chat.

The last user message is the question; earlier turns are what it may follow up on. System messages are not read: the
prompt is ours. The answer's text has its citations at their places and ends with its sources. The message has them as
`citations`, too:

    {"number": 1, "id": "…", "title": "…", "source": "manuals/a.pdf, page 3", "text": "…", "link": "source/…"}

`link` opens the passage in its document, relative to the chat's address. Where a span reader is in use, `"span"` says
where the answer stands in `text`: {"start", "end", "text", "margin"}. Where answers are checked, `"support"` says
how far the cited passages support it: {"line", "word_for_word", "score", "logit", "agreement"}. A refusal is the chat's
sentence, with `"abstained": true`.
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

from rag.documents.citation import NOT_IN_DOCUMENTS
from rag.generate.citations import cited_by, moved, split_citations
from rag.generate.copies import contains_words, normalized_words
from rag.generate.refusals import may_refuse
from rag.scripts import whole_words
from rag.serve.asking import citations_record, marked_text
from rag.serve.chat import Chat
from rag.serve.turns import Options, Turn, outcome
from rag.serve.users import RateLimit, Users
from rag.types import Answer, Query, Response

MODEL = "rag"
SOURCES = "\n\nSources:\n"
MAX_MESSAGES = 100
MAX_AT_ONCE = 8
MAX_BODY_BYTES = 2**20
# The parser may still remove text from here on, or turn the answer into a refusal: not sent before the answer is whole.
_UNSURE = re.compile(
    r"[<\[]|\A\W|\A(?:A|Answer|Q|Question|system|user|human|assistant)\b|cannot|CANNOT|Answered by"
    r"|\n\s*(?:Q|Question|system|user|human|assistant)(?:\b|\d)",
    re.I,
)
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
    """The part of a request that is read. Sampling parameters are accepted but not used."""

    model_config = ConfigDict(extra="ignore")
    model: str = MODEL
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None


def make_router(chat: Chat, options: Options, *, users: Users | None, limit: RateLimit) -> APIRouter:
    """The routes. With `users` every request needs the API key of one of them as its bearer token."""
    router = APIRouter(prefix="/v1", route_class=_Route)
    places = threading.BoundedSemaphore(MAX_AT_ONCE)

    async def who_asks(request: Request, authorization: Annotated[str, Header()] = "") -> str:
        """The person whose key it is, or without users the address. Others get 401 before their body is read."""
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
        answering = _Answering(chat, request.messages[-1].text, turns, options)
        if request.stream:
            with_usage = request.stream_options is not None and request.stream_options.include_usage
            return _Streamed(answering.stream(with_usage=with_usage), places)
        try:
            return answering.whole()
        finally:
            places.release()

    return router


class _Route(APIRoute):
    """A route whose errors before an answer have the form that OpenAI's clients know."""

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
    problems: list[dict] = getattr(error, "errors", list)()
    return f"{'.'.join(map(str, problems[0]['loc']))}: {problems[0]['msg']}" if problems else str(error)


def _turns(messages: Sequence[ChatMessage]) -> list[Turn]:
    """Earlier questions with their answers, without the sources that we wrote below them."""
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
    """One answer, whole or as a stream, in OpenAI's frame."""

    def __init__(self, chat: Chat, question: str, turns: Sequence[Turn], options: Options):
        self._chat, self._question, self._turns, self._options = chat, question, turns, options
        self._frame = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": MODEL}

    def whole(self) -> JSONResponse:
        (turn,) = collections.deque(self._snapshots(), maxlen=1)
        if turn.error:
            return _error(400 if turn.refused else 500, turn.error, "failed")
        cited = citations_record(*outcome(turn))
        message = {"role": "assistant", "content": _content(turn), **cited}
        return JSONResponse(
            {
                **self._frame,
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
                "usage": _usage(turn),
                **cited,
            }
        )

    def stream(self, *, with_usage: bool) -> Iterator[str]:
        """Server-sent events: pieces of the answer that surely stay, then the rest, which ends with the sources."""
        sent = ""
        turn = Turn(self._question)
        for turn in self._snapshots():
            if turn.done or turn.response is None or turn.response.answer is None:
                continue
            safe = _surely_marked(turn.response, turn.response.answer.text)
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
            yield self._chunk({"content": rest} if sent else {"role": "assistant", "content": rest})
            yield self._chunk({}, finish_reason="stop", **citations_record(*outcome(turn)))
            if with_usage:
                frame = {**self._frame, "object": "chat.completion.chunk", "choices": [], "usage": _usage(turn)}
                yield f"data: {json.dumps(frame)}\n\n"
        yield "data: [DONE]\n\n"

    def _snapshots(self) -> Iterator[Turn]:
        return self._chat.ask(self._question, self._turns, self._options)

    def _chunk(self, delta: dict, finish_reason: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        frame = {**self._frame, "object": "chat.completion.chunk", "choices": [choice], **more}
        return f"data: {json.dumps(frame)}\n\n"


class _Streamed(StreamingResponse):
    """Server-sent events that give their place back at the end, even where the client leaves before the first one."""

    def __init__(self, events: Iterator[str], places: threading.BoundedSemaphore):
        super().__init__(events, media_type="text/event-stream")
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.release()


def _surely(text: str) -> str:
    """The beginning of an unfinished answer that the parser will leave as it is: whole words, none of them risky."""
    if may_refuse(text):
        return ""
    match = _UNSURE.search(text)
    held = text[: match.start()] if match else text[:-_HELD_BACK_CHARACTERS]
    return whole_words(held)


def _surely_marked(response: Response, text: str) -> str:
    """As `_surely`, with the marks of citations at their places."""
    passages = [hit.passage for hit in response.contexts]
    plain, marks = split_citations(text, passages)
    sure = _surely(plain)
    words = normalized_words(sure)
    if marks and any(contains_words(normalized_words(passage.content), words) for passage in passages):
        # All of it stands in a passage so far. If it ends so, that passage is what is cited, whatever was marked.
        sure = sure[: marks[0][0]]
    kept = moved([mark for mark in marks if mark[0] < len(sure)], (0, len(sure)))
    return marked_text(response, Answer(sure, cited_by(kept), text, kept))


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
