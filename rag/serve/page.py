"""The chat page, and the one function that Gradio's clients call: both over `rag.serve.chat.Chat`.

The page is HTML, CSS and JavaScript of our own below `static/app/`, and JSON below `/page/` (`rag.serve.page_shell`,
`page_ask`, `page_conversations`, `page_documents`). Gradio serves its API beside it: `gradio_client` finds `ask` there.
"""

from __future__ import annotations

import dataclasses

import gradio as gr
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rag.errors import RagError
from rag.progress import working_for
from rag.serve.access import asker_of, person_of
from rag.serve.asking import answer_once
from rag.serve.page_ask import make_ask_router
from rag.serve.page_conversations import make_conversations_router
from rag.serve.page_documents import make_documents_router
from rag.serve.page_parts import PageParts
from rag.serve.page_shell import make_shell_router
from rag.serve.visitors import visitor
from rag.terminal import plain_logger

AT_ONCE = 8
SORRY = "Something went wrong; the chat's log says what."

log = plain_logger(__name__)


class Page:
    """`blocks` is what Gradio serves, `routes` what is served beside it: the page."""

    def __init__(self, parts: PageParts):
        self._parts = parts
        with gr.Blocks(title=parts.title) as self.blocks:
            gr.api(self.ask_once, api_name="ask")
        # Not open: an event that waits in the queue is never run past it.
        self.blocks.queue(default_concurrency_limit=AT_ONCE, max_size=parts.max_waiting, api_open=False)
        served = page_app(parts)
        self.routes = [Route("/", served), Route("/favicon.ico", served), Route("/page/{rest:path}", served)]

    def ask_once(self, question: str, request: gr.Request) -> dict:
        """Answer a standalone question: the answer, its citations, and whether it abstained."""
        access = self._parts.access
        if not access.allows(request):
            raise gr.Error("You may no longer ask here.")
        try:
            with working_for(visitor()):
                may_read = self._parts.readers.names(person_of(request))
                options = dataclasses.replace(self._parts.defaults, may_read=may_read)
                return answer_once(self._parts.chat, options, access.limit, asker_of(request), question)
        except RagError as error:
            raise gr.Error(str(error), print_exception=False) from error


def page_app(parts: PageParts) -> FastAPI:
    """The page as an application. What goes wrong is `{"detail": SENTENCE}`."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    for make in (make_shell_router, make_ask_router, make_conversations_router, make_documents_router):
        app.include_router(make(parts))

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.exception("a request of the page failed", exc_info=error)
        return JSONResponse({"detail": SORRY}, 500)

    app.add_exception_handler(RagError, ours)
    app.add_exception_handler(Exception, unforeseen)
    return app
