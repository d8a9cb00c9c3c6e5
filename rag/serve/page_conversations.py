"""The page's kept conversations, each person's own: listed, opened, renamed, deleted, restored, exported, judged.

    GET    /page/conversations                       those that are there; `query`, `offset`, `limit`, `deleted=1`
    GET    /page/conversations/ID                    one, with its turns as the page shows them
    PATCH  /page/conversations/ID                    {"title": …}
    DELETE /page/conversations/ID                    can be undone for some days; `forever=1` cannot
    POST   /page/conversations/ID/restore            undo the deletion
    POST   /page/conversations/ID/uncut              bring back the turns that an edited question took the place of
    GET    /page/conversations/ID/export.md          as Markdown
    POST   /page/conversations/ID/turns/N/feedback   {"value": 1 | -1 | null, "reason": …, "comment": …}

Refusals are `{"detail": SENTENCE}`: 401 for who may not use the page, 404 for what is not theirs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from rag.errors import RagError
from rag.serve.api_body import json_object
from rag.serve.api_errors import ApiError
from rag.serve.export import as_markdown
from rag.serve.history import History
from rag.serve.kept import Conversation, Kept, KeptTurn
from rag.serve.page_parts import PageParts
from rag.serve.view import turn_view
from rag.serve.view.ranks import scale_about
from rag.serve.working_turns import UNDO_DAYS

MAX_WORDS_CHARACTERS = 200
LISTED = 100
_NUMBER = re.compile(r"[0-9]{1,6}")
_ONE = "/page/conversations/{key}"
NOT_HERE = "This conversation is not here. It may have been deleted, or belong to somebody else."
Answer = Callable[[History, str, Request, dict[str, Any]], Response]


def make_conversations_router(parts: PageParts) -> APIRouter:
    """The routes, each for the person who asks."""
    router = APIRouter()

    def serve(method: str, path: str, answer: Answer) -> None:
        async def endpoint(request: Request) -> Response:
            person = parts.person(request)
            try:
                body = await request.body()
                asked = json_object(body) if body else {}
                return await run_in_threadpool(answer, parts.history, person, request, asked)
            except ApiError as error:
                raise HTTPException(error.status, str(error)) from error
            except RagError as error:  # the store cannot be read or written now
                raise HTTPException(503, str(error)) from error

        router.add_api_route(path, endpoint, methods=[method], include_in_schema=False)

    serve("GET", "/page/conversations", _listed)
    serve("GET", _ONE, lambda history, person, request, _: _opened(parts, _its(history, person, request)))
    serve("PATCH", _ONE, _renamed)
    serve("DELETE", _ONE, lambda history, person, request, _: _deleted(parts, history, person, request))
    serve("POST", f"{_ONE}/restore", _restored)
    serve("POST", f"{_ONE}/uncut", _uncut)
    serve("GET", f"{_ONE}/export.md", _exported)
    serve("POST", f"{_ONE}/turns/{{number}}/feedback", _judged)
    return router


def conversation_view(parts: PageParts, conversation: Conversation) -> dict[str, Any]:
    """A conversation as the page takes it: its turns as `rag.serve.view` shows them, and its own files."""
    turns = [kept_view(parts, kept, conversation.id) for kept in conversation.turns]
    attachments = parts.attachments
    rows = attachments.documents(conversation.attached) if attachments is not None and conversation.attached else []
    files = [{"name": Path(str(row["path"])).name} for row in rows]
    return {**_summary(conversation), "turns": turns, "files": files, "n_cut": conversation.n_cut}


def kept_view(parts: PageParts, kept: KeptTurn, conversation: str) -> dict[str, Any]:
    """A kept turn as the page takes it; of what is kept beside it, `model`, `seconds` and `searched_in` are shown."""
    about, seconds = kept.about, kept.about.get("seconds")
    return turn_view(
        kept.turn,
        number=kept.number,
        conversation=conversation,
        feedback=kept.feedback,
        reason=kept.reason,
        seconds=seconds if isinstance(seconds, int | float) else None,
        model=str(about.get("model", "")),
        searched_in=str(about.get("searched_in", "")),
        may_add=parts.may_upload,
        scale=scale_about(about),
    )


def file_name(title: str) -> str:
    """A file name for a conversation of this title, such as every system takes it."""
    kept = "".join(ch if ch.isalnum() or unicodedata.category(ch) in ("Mn", "Mc") else " " for ch in title)
    return f"{'-'.join(kept.split())[:60] or 'conversation'}.md"


def _listed(history: History, person: str, request: Request, _: dict[str, Any]) -> Response:
    query = request.query_params
    found = history.find(
        person,
        query.get("query", "")[:MAX_WORDS_CHARACTERS],
        min(_number(query.get("limit", ""), LISTED), LISTED),
        offset=_number(query.get("offset", ""), 0),
        deleted=query.get("deleted") == "1",
    )
    return _json([_summary(kept) for kept in found])


def _opened(parts: PageParts, conversation: Conversation) -> Response:
    return _json(conversation_view(parts, conversation))


def _renamed(history: History, person: str, request: Request, asked: dict[str, Any]) -> Response:
    title = asked.get("title")
    if not isinstance(title, str) or not title.strip():
        raise HTTPException(400, "A title has at least one character.")
    history.rename(person, _its(history, person, request).id, title)
    return _json(_summary(_its(history, person, request)))


def _deleted(parts: PageParts, history: History, person: str, request: Request) -> Response:
    key = request.path_params["key"]
    if request.query_params.get("forever") != "1":
        if not history.discard(person, key):
            raise HTTPException(404, NOT_HERE)
        return _json({"id": key, "days": UNDO_DAYS})
    attached = history.attached(person, key)
    history.delete(person, key)
    if parts.attachments is not None and attached:
        parts.attachments.drop(attached)
    return _json({"id": key, "days": 0})


def _restored(history: History, person: str, request: Request, _: dict[str, Any]) -> Response:
    if not history.restore(person, request.path_params["key"]):
        raise HTTPException(404, NOT_HERE)
    return _json(_summary(_its(history, person, request)))


def _uncut(history: History, person: str, request: Request, _: dict[str, Any]) -> Response:
    return _json({"n": history.uncut(person, _its(history, person, request).id)})


def _exported(history: History, person: str, request: Request, _: dict[str, Any]) -> Response:
    conversation = _its(history, person, request)
    text = as_markdown(conversation.title, [kept.turn for kept in conversation.turns])
    name = quote(file_name(conversation.title))
    headers = {
        "Content-Disposition": f"attachment; filename=\"conversation.md\"; filename*=UTF-8''{name}",
        "Cache-Control": "no-store",
    }
    return Response(text, media_type="text/markdown; charset=utf-8", headers=headers)


def _judged(history: History, person: str, request: Request, asked: dict[str, Any]) -> Response:
    value = asked.get("value")
    reason, comment = ("" if asked.get(name) is None else asked[name] for name in ("reason", "comment"))
    if value not in (1, 0, -1, None) or isinstance(value, bool):
        raise HTTPException(400, "value is 1 for a good answer, -1 for a bad one, or null to take it back.")
    if not isinstance(reason, str) or not isinstance(comment, str):
        raise HTTPException(400, "reason and comment are texts.")
    liked = None if not value else value > 0
    said = ": ".join(part for part in (reason.strip(), comment.strip()) if part) if value else ""
    number = _number(request.path_params["number"], 0)
    if not history.judge(person, request.path_params["key"], number, liked, said):
        raise HTTPException(404, "There is no such answer here.")
    return _json({"feedback": value or None})


def _its(history: History, person: str, request: Request) -> Conversation:
    """The conversation that the request names. Raises HTTPException where it is not this person's, or deleted."""
    conversation = history.open(person, request.path_params["key"])
    if conversation is None:
        raise HTTPException(404, NOT_HERE)
    return conversation


def _summary(kept: Kept | Conversation) -> dict[str, Any]:
    """A conversation in the list; `updated` is UTC, and `day` the day of it."""
    n_turns = kept.n_turns if isinstance(kept, Kept) else len(kept.turns)
    deleted = {"deleted": kept.deleted} if isinstance(kept, Kept) and kept.deleted else {}
    return {
        "id": kept.id,
        "title": kept.title,
        "day": kept.updated[:10],
        "updated": kept.updated,
        "n_turns": n_turns,
        **deleted,
    }


def _json(content: Any, status: int = 200) -> Response:
    """An answer that no cache keeps: it is one person's."""
    return JSONResponse(content, status, {"Cache-Control": "no-store"})


def _number(text: str, otherwise: int) -> int:
    return int(text) if _NUMBER.fullmatch(text) else otherwise
