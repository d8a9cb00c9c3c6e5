"""Starting the chat: the page, the API and the tools on one address."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from fastapi import Request
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from rag.build.parts import make_generator, make_prompt, make_reranker
from rag.build.pipelines import sentence_margin
from rag.build.retrievers import Retrievers
from rag.build.threshold import rerank_threshold
from rag.config import Settings
from rag.errors import RagError
from rag.index.folder import serving_manifest
from rag.lazy import Lazy
from rag.models.promoted import serving
from rag.models.resolve import rag_home
from rag.progress import say
from rag.serve.access import key_of, may_read, password_check
from rag.serve.api import make_router
from rag.serve.asking import answer_once, default_options
from rag.serve.assets import CSS, HEAD
from rag.serve.history import History, history_path
from rag.serve.page import make_app
from rag.serve.shelf import Shelf
from rag.serve.source_pages import Sources, make_source_router
from rag.serve.users import LOOPBACK, LOOPBACK_HOSTS, RateLimit, Users

if TYPE_CHECKING:
    from rag.serve.conversation import Conversation
    from rag.types import Retriever


def make_conversation(
    settings: Settings,
    index_folder: str | Path,
    retrievers: Callable[[], Retrievers],
    narrow: Callable[[str, Collection[str] | None, str], Lazy[Retriever]],
) -> Conversation:
    """The chat's conversation over an index: every retriever to choose from, the other parts shared.

    `retrievers` gives those that answers come from by now, `narrow` a retriever over what a person chose
    (`rag.serve.conversation.Conversation`). What refuses is of the passages and the reranker that are loaded, whatever
    a disk holds since; a calibration of them counts from when it is made.
    """
    from rag.serve.conversation import Conversation

    served = serving(settings.reranker.model) if settings.reranker.enabled else None

    def threshold_at_strictness(strictness: float | None) -> float | None:
        chosen = settings
        if strictness is not None:
            abstain = settings.abstain.model_copy(update={"strictness": strictness, "rerank_threshold": None})
            chosen = settings.model_copy(update={"abstain": abstain})
        manifest = retrievers().index.get().manifest
        return rerank_threshold(chosen, index_folder, manifest=manifest, served=served)

    return Conversation(
        retrievers().each(),
        Lazy(lambda: make_reranker(settings, served)),
        Lazy(lambda: make_generator(settings, interactive=True)),
        make_prompt(settings),
        threshold_at_strictness,
        settings.prompt.order,
        sentence_margin(settings),
        narrow,
    )


EMBEDDED_EXAMPLES = (
    "What does the nonlocal statement do?",
    "When is the else clause of a for loop executed?",
    "What is an orphan in a bonsai garden?",
)


def _keep_loopback_off_proxies() -> None:
    """Gradio asks its own address once at the start; a proxy of the machine does not know it."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", "::1"]))


def serve(
    settings: Settings,
    index: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    users: Users | None = None,
    mcp: bool = False,
    block: bool = True,
) -> gr.Blocks:
    """Open the chat over an index, and the API beside it, and print the address; with `block` it stays until
    interrupted. With `users` the page asks for a password and the API for a key; with `mcp` the documents are a tool of
    the Model Context Protocol, too."""
    if users is not None:
        users.names()  # a missing or damaged file is told now, not to the first who tries the door
    elif host not in LOOPBACK:
        say(f"warning: whoever reaches {host}:{port} may ask; --auth USERS_FILE lets in only whom you add")
    _, manifest = serving_manifest(index)
    # Without names everybody would see everybody's: kept only where one person can be there.
    history = History(history_path(rag_home(), index)) if users is not None or host in LOOPBACK else None
    if history is not None:
        attached = history.path.with_name(f".{history.path.stem}.files")
    else:  # nobody can come back to a conversation that is not kept
        attached = Path(tempfile.mkdtemp(prefix="rag-files-"))
        atexit.register(shutil.rmtree, attached, ignore_errors=True)
    shelf = Shelf(settings, index, attached, history.every_attached if history is not None else tuple)
    shelf.attachments.sweep()
    conversation = make_conversation(settings, index, lambda: shelf.retrievers, shelf.narrowed)
    limit = RateLimit(settings.serving.questions_per_minute)
    alone = users is None and host in LOOPBACK
    may_upload = settings.serving.uploads == "on" or (settings.serving.uploads == "auto" and alone)
    embedded = manifest.corpus_path == "embedded"
    page = make_app(
        conversation,
        settings,
        title="Ask the Python language reference" if embedded else "Ask your documents",
        examples=EMBEDDED_EXAMPLES if embedded else (),
        limit=limit,
        history=history,
        users=users,
        collections=lambda: shelf.retrievers.collections(),
        take_in=partial(shelf.take_in, conversation=conversation) if may_upload and not manifest.corpus_path else None,
        attachments=shelf.attachments if may_upload else None,
    )
    sources = Sources(index, lambda: shelf.retrievers.index.get())
    options = default_options(settings)
    router = make_router(conversation, options, users=users, limit=limit)
    source_router = make_source_router(sources, partial(may_read, page, users), shelf.attachments.sources)
    app_kwargs: dict = {"routes": [*router.routes, *source_router.routes]}
    if alone:  # a page of the web that calls itself by a name of its own for this machine may not ask either
        app_kwargs["middleware"] = [Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_HOSTS)]
    if mcp:
        from rag.serve.mcp import DocumentTools

        def answer(question: str, request: Request) -> dict:
            return answer_once(conversation, options, limit, key_of(users, request), question)

        tools = DocumentTools(answer, lambda request: users is None or bool(key_of(users, request)), local=alone)
        app_kwargs |= {"routes": [*app_kwargs["routes"], *tools.routes], "lifespan": tools.lifespan}
    conversation.preload(settings.retriever.kind)
    _keep_loopback_off_proxies()
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            quiet=True,
            prevent_thread_lock=True,
            css=CSS,
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            head=HEAD,
            footer_links=[],
            max_file_size=int(settings.documents.max_file_mib * 2**20),
            auth=password_check(users) if users is not None else None,
            app_kwargs=app_kwargs,
            ssr_mode=False,
        )
    except OSError as error:
        raise RagError(f"port {port} on {host} cannot be used ({error}); choose another: --port 7861") from error
    print(f"The chat is at {address}, its API at {address.rstrip('/')}/v1 (Ctrl+C ends it)", flush=True)
    if block:
        page.block_thread()
    return page
