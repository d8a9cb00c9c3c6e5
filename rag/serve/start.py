"""Starting the chat: the page, the API and the tools on one address."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from fastapi import Request
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from rag.build.english import knows_latin_alone
from rag.build.indexes import add_files, ingest_documents
from rag.build.parts import make_generator, make_prompt
from rag.build.pipelines import checks_support, depths_of, reading_of, sentence_margin
from rag.build.retrievers import Retrievers
from rag.build.serving import Serving, serving_over
from rag.config import Settings
from rag.errors import RagError
from rag.evidence import Threshold
from rag.index.ingest import uploads_folder
from rag.lazy import Lazy
from rag.models.resolve import rag_home
from rag.progress import say
from rag.serve.access import Access, key_of, may_read, password_check
from rag.serve.api import make_router
from rag.serve.asking import answer_once
from rag.serve.assets import PAGE_CSS, page_head
from rag.serve.attachments import Attachments, Indexing
from rag.serve.chat import Chat
from rag.serve.history import History, history_path
from rag.serve.page import Page
from rag.serve.shelf import Shelf
from rag.serve.source_pages import make_source_router
from rag.serve.sources import Sources
from rag.serve.turns import Options
from rag.serve.users import LOOPBACK, LOOPBACK_HOSTS, RateLimit, Users

if TYPE_CHECKING:
    from rag.retrieve.encoder import Encoder
    from rag.types import Retriever

EMBEDDED_EXAMPLES = (
    "What does the nonlocal statement do?",
    "When is the else clause of a for loop executed?",
    "What is an orphan in a bonsai garden?",
)


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
    """Open the chat over an index, with the API beside it, and print the address. Returns the page.

    With `users` the page asks for a password and the API for a key. With `mcp` the documents are also a tool of the
    Model Context Protocol. With `block` the chat runs until it is interrupted. Raises RagError where the port cannot be
    used, and what `serving_over` raises.
    """
    _check_access(users, host, port)
    serving = serving_over(settings, index)
    is_local = users is None and host in LOOPBACK
    # Without names everybody would see everybody's conversations: they are kept only where one person can be there.
    history = History(history_path(rag_home(), index)) if users is not None or host in LOOPBACK else None
    shelf = _open_shelf(serving, history)
    chat = make_chat(serving, lambda: shelf.retrievers, shelf.narrowed)
    access = Access(users, RateLimit(settings.serving.questions_per_minute))
    options = Options(settings.retriever.kind, depths_of(settings))
    page = _make_page(serving, chat, options, shelf=shelf, access=access, history=history, is_local=is_local)
    beside = _beside_the_page(page, chat, options, shelf=shelf, access=access, mcp=mcp, is_local=is_local)
    chat.preload(settings.retriever.kind)
    if not serving.manifest.corpus_path:  # an index of documents may be watched
        shelf.keep_following(chat)
    address = _launch(page, host, port, users=users, max_file_mib=settings.documents.max_file_mib, beside=beside)
    print(f"The chat is at {address}, its API at {address.rstrip('/')}/v1 (Ctrl+C ends it)", flush=True)
    if block:
        page.block_thread()
    return page


def _check_access(users: Users | None, host: str, port: int) -> None:
    """Report a missing or damaged users file now and not to the first who logs in; warn where anybody may ask."""
    if users is not None:
        users.names()
    elif host not in LOOPBACK:
        say(f"warning: anyone who can reach {host}:{port} may ask; --auth USERS_FILE lets in only the people you add")


def _open_shelf(serving: Serving, history: History | None) -> Shelf:
    """The documents of the index and of single conversations."""
    settings, index = serving.settings, serving.index_folder
    kept: Callable[[], Collection[str]] = tuple
    if history is not None:
        attached = history.path.with_name(f".{history.path.stem}.files")
        kept = history.every_attached
    else:
        # Nobody can come back to a conversation that is not kept: its files go when the chat ends.
        attached = Path(tempfile.mkdtemp(prefix="rag-files-"))
        atexit.register(shutil.rmtree, attached, ignore_errors=True)
    attachments = make_attachments(settings, attached, lambda: shelf.retrievers.encoder.get(), kept)
    attachments.sweep()
    shelf = Shelf(
        index,
        open_retrievers=lambda encoder: Retrievers(settings, index, encoder),
        add_files=lambda paths: add_files(settings, paths, index, uploads_folder(index)),
        attachments=attachments,
    )
    return shelf


def make_attachments(
    settings: Settings,
    root: str | Path,
    encoder: Callable[[], Encoder],
    kept: Callable[[], Collection[str]] = tuple,
) -> Attachments:
    """The files of conversations below `root`, embedded by the encoder that everything else is searched with."""
    # A few passages are too few to train the cells of an index for many.
    flat = settings.model_copy(update={"index": settings.index.model_copy(update={"factory": "Flat"})})
    indexing = Indexing(
        add=lambda paths, index, copies: add_files(flat, paths, index, copies, encoder=encoder()),
        update=lambda index: ingest_documents(flat, [], index, encoder=encoder()),
        retrievers=lambda index: Retrievers(flat, index, Lazy(encoder)),
    )
    return Attachments(root, indexing, kept)


def make_chat(
    serving: Serving,
    retrievers: Callable[[], Retrievers],
    narrow: Callable[[str, Sequence[str] | None, str], Lazy[Retriever]],
) -> Chat:
    """The chat over what serves: a person may choose the retriever, everything else is the same for all.

    `retrievers` gives the ones that search the index as it is now; `narrow` is as for `Chat`. Thresholds are for the
    passages and the reranker that are loaded, even if others have replaced them on disk. A calibration for them that is
    made while the chat runs counts at once.
    """
    settings = serving.settings

    def threshold_at(strictness: float | None) -> Threshold | None:
        return serving.threshold_at(strictness, retrievers().index.get().manifest)

    prompt = make_prompt(settings)
    return Chat(
        retrievers().each(),
        Lazy(serving.load_reranker),
        Lazy(lambda: make_generator(settings, interactive=True)),
        prompt,
        threshold_at,
        settings.prompt.order,
        sentence_margin(settings),
        narrow,
        reading_of(serving, prompt),
        checks_support=checks_support(settings),
        latin_alone=knows_latin_alone(settings),
    )


def _make_page(
    serving: Serving,
    chat: Chat,
    options: Options,
    *,
    shelf: Shelf,
    access: Access,
    history: History | None,
    is_local: bool,
) -> gr.Blocks:
    uploads, corpus = serving.settings.serving.uploads, serving.manifest.corpus_path
    may_upload = uploads == "on" or (uploads == "auto" and is_local)
    # An index of a corpus file is made from that file alone; files can still be added to a conversation.
    may_add_to_all = may_upload and not corpus
    is_embedded = corpus == "embedded"
    page = Page(
        chat,
        options,
        title="Ask the Python language reference" if is_embedded else "Ask your documents",
        examples=EMBEDDED_EXAMPLES if is_embedded else (),
        access=access,
        history=history,
        collections=lambda: shelf.retrievers.collections(),
        add_to_all=partial(shelf.add, chat=chat) if may_add_to_all else None,
        attachments=shelf.attachments if may_upload else None,
        max_waiting=serving.settings.serving.max_waiting,
    )
    return page.blocks


def _beside_the_page(
    page: gr.Blocks, chat: Chat, options: Options, *, shelf: Shelf, access: Access, mcp: bool, is_local: bool
) -> dict:
    """What the page's application serves besides the page: API, pages of sources and, with `mcp`, the tools."""
    users, limit = access.users, access.limit
    api = make_router(chat, options, users=users, limit=limit)
    sources = Sources(shelf.index, lambda: shelf.retrievers.index.get())
    source_pages = make_source_router(sources, partial(may_read, page, users), shelf.attachments.sources)
    beside: dict = {"routes": [*api.routes, *source_pages.routes]}
    if is_local:
        # A web page may point its own name at this machine and ask through a browser here: other names are refused.
        beside["middleware"] = [Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_HOSTS)]
    if mcp:
        from rag.serve.mcp import DocumentTools

        def answer(question: str, request: Request) -> dict:
            return answer_once(chat, options, limit, key_of(users, request), question)

        tools = DocumentTools(answer, lambda request: users is None or bool(key_of(users, request)), local=is_local)
        beside["routes"] += tools.routes
        beside["lifespan"] = tools.lifespan
    return beside


def _launch(page: gr.Blocks, host: str, port: int, *, users: Users | None, max_file_mib: float, beside: dict) -> str:
    """Serve the page in a thread of its own; returns its address."""
    _keep_loopback_off_proxies()
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            quiet=True,
            prevent_thread_lock=True,
            css_paths=PAGE_CSS,
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            head=page_head(),
            footer_links=[],
            max_file_size=int(max_file_mib * 2**20),
            auth=password_check(users) if users is not None else None,
            app_kwargs=beside,
            ssr_mode=False,
        )
    except OSError as error:
        raise RagError(f"port {port} on {host} cannot be used ({error}); choose another: --port 7861") from error
    return address


def _keep_loopback_off_proxies() -> None:
    """Keep requests to this machine off its proxy: Gradio asks its own address once at the start."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", "::1"]))
