"""What a source card opens: a passage in its document, on pages of their own beside the chat.

`/source/ID` shows the document's text with the passage marked, and for a PDF a picture of the page. The page holds no
script and may load nothing, so whatever a document says is only shown.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from rag.documents.pages import PageImage
from rag.errors import UnreadableFile
from rag.retrieve.placed import title_as_placed
from rag.serve.readers import Readers
from rag.serve.source_html import gone_html, marked_span, source_html
from rag.serve.source_links import source_link as source_link
from rag.serve.sources import Source, Sources
from rag.types import Passage, Span

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
THEME_COOKIE = "rag-theme"
"""What the chat page keeps a chosen theme in, for these pages, which hold no script."""

_CONVERSATION = re.compile(r"[0-9A-Za-z-]{1,64}")
_SENTENCE = re.compile(r"([0-9]{1,7})-([0-9]{1,7})")


def make_source_router(
    sources: Sources,
    may_read: Callable[[Request], bool],
    attached: Callable[[str], Sources | None] = lambda key: None,
    readers: Readers | None = None,
    attached_to: Callable[[str], str | None] = lambda key: None,
) -> APIRouter:
    """The routes that `source_link` points to, for requests that `may_read` lets in (401 for others).

    `attached` gives the sources of a conversation's own files by its key, and `attached_to` whose they are, None for
    nobody's in particular. With `readers` a person sees of the index what they may read; anything else is not there.
    """
    router = APIRouter()

    def own(key: str, request: Request) -> Sources | None:
        owner = attached_to(key)
        return attached(key) if may_read(request) and owner in (None, person_at(request)) else None

    @router.get("/conversation/{key}/source/{passage_id:path}")
    def show_attached(key: str, passage_id: str, request: Request) -> HTMLResponse:
        return shown([own(key, request), sources], passage_id, request, "../../../")

    @router.get("/source/{passage_id:path}")
    def show(passage_id: str, request: Request) -> HTMLResponse:
        return shown([sources], passage_id, request, "../")

    def shown(places: Sequence[Sources | None], passage_id: str, request: Request, back: str) -> HTMLResponse:
        if not may_read(request):
            raise HTTPException(401, "log in first")
        for place in places:
            source = place.find(passage_id) if place is not None else None
            if source is not None and place is sources and readers is not None:
                passage = readers.passage(person_at(request), source.passage)
                source = _as_seen(source, passage) if passage is not None else None
            if place is not None and source is not None:
                return HTMLResponse(_source_page(place, source, request, back), 200, HEADERS)
        return HTMLResponse(gone_html(_theme(request)), 404, HEADERS)

    return router


def _as_seen(source: Source, passage: Passage) -> Source:
    """The source with its passage, and the document's title, as somebody may see them."""
    title = title_as_placed(source.document.title, source.passage, passage)
    document = dataclasses.replace(source.document, title=title)
    return dataclasses.replace(source, passage=passage, document=document)


def person_at(request: Request) -> str:
    """Who sends a request, as the guard has found out; "" where nobody has to log in."""
    return getattr(request.state, "person", "")


def _source_page(sources: Sources, source: Source, request: Request, back: str) -> str:
    """The page of a source. `page` is the number that a request asks for; anything else shows the passage's page."""
    asked = request.query_params
    page, conversation = asked.get("page", ""), asked.get("c", "")
    sentence = _sentence(asked.get("sentence", ""), source)
    kept = [f"sentence={sentence[0]}-{sentence[1]}"] if sentence else []
    if _CONVERSATION.fullmatch(conversation):
        kept.append(f"c={conversation}")
        back += f"?c={conversation}"
    pictures: list[PageImage] = []
    problem = source.note
    if source.document.kind == "pdf":
        start, end = marked_span(source, sentence)
        number = int(page) if page.isdecimal() and len(page) < 9 else None
        try:
            pictures = sources.pictures(dataclasses.replace(source, start=start, end=end), number)
            if sentence and not number and not any(picture.marks for picture in pictures):
                pictures = sources.pictures(source)  # a sentence that a line of its own interrupts: all of the passage
        except UnreadableFile as error:
            problem = f"The file itself {error}; this is its text as it was when it was added."
    return source_html(
        source, pictures, problem, sentence=sentence, back=back, query="&".join(kept), theme=_theme(request)
    )


def _theme(request: Request) -> str:
    """What the person has chosen on the chat page; "" where they leave it to the system."""
    return request.cookies.get(THEME_COOKIE, "")


def _sentence(asked: str, source: Source) -> Span | None:
    """The part of the passage that a request names; None where it names none."""
    match = _SENTENCE.fullmatch(asked)
    if match is None:
        return None
    start, end = int(match[1]), int(match[2])
    return (start, end) if start < end <= len(source.passage.text) else None
