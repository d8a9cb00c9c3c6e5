"""Starting the chat: the page, the API and the tools on one address."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import Request
from starlette.middleware import Middleware

from rag.build.indexes import add_address, add_files, ingest_documents, remove_from_index
from rag.build.pipelines import depths_of
from rag.build.retrievers import Retrievers
from rag.build.serving import Serving, serving_over
from rag.config import Settings
from rag.errors import RagError
from rag.index.ingest import uploads_folder
from rag.index.known import note_index
from rag.lazy import Lazy
from rag.models.resolve import rag_home
from rag.progress import say
from rag.serve.access import Access, key_of, may_read, password_check
from rag.serve.address import check_address
from rag.serve.api import make_router
from rag.serve.api_documents import DocumentFiles, document_files
from rag.serve.attachments import Attachments, Indexing
from rag.serve.chat import Chat
from rag.serve.connections import bound_connections
from rag.serve.ending import end
from rag.serve.entrance import MIB, guarded, is_for_one, make_room, public_address
from rag.serve.history import History, history_path, open_history
from rag.serve.making import make_chat
from rag.serve.monitoring import monitor, passages_on
from rag.serve.nearby_server import Nearby, open_door
from rag.serve.page import Page
from rag.serve.page_making import make_page_parts
from rag.serve.page_parts import PageParts
from rag.serve.shelf import Shelf
from rag.serve.source_pages import make_source_router, person_at
from rag.serve.sources import Sources
from rag.serve.turns import Options
from rag.serve.upload_room import check_room
from rag.serve.users import LOOPBACK, RateLimit, Users
from rag.serve.visitors import NoticeLeaving
from rag.terminal import show

if TYPE_CHECKING:
    from rag.documents.collection import Ingested
    from rag.retrieve.encoder import Encoder

VISITS_KEPT = 1000


def serve(
    settings: Settings,
    index: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    users: Users | None = None,
    mcp: bool = False,
    block: bool = True,
    until: threading.Event | None = None,
) -> gr.Blocks:
    """Open the chat over an index, with the API beside it, and print the address. Returns the page.

    With `users` the page asks for a password and the API for a key. With `mcp` the documents are also a tool of the
    Model Context Protocol. With `block` the chat runs until it is interrupted, with `until` until that is set; then it
    ends as `rag.serve.ending` says. Raises what `check_address` and `serving_over` raise.
    """
    check_address(host, port)
    _check_access(users, host, port)
    serving = serving_over(settings, index)
    is_local = is_for_one(settings, host, users)
    room = make_room(settings, may_upload=_may_upload(settings, is_local=is_local))
    # Without names everybody would see everybody's conversations: they are kept only where one person can be there.
    history = open_history(history_path(rag_home(), index)) if users is not None or is_local else None
    shelf = _open_shelf(serving, history)
    chat = make_chat(serving, lambda: shelf.retrievers, shelf.narrowed)
    access = Access(users, RateLimit(settings.serving.questions_per_minute))
    options = Options(settings.retriever.kind, depths_of(settings))
    parts = make_page_parts(
        serving, chat, options, shelf=shelf, access=access, history=history, room=room, is_local=is_local
    )
    own = Page(parts)
    page = own.blocks
    documents = document_files(serving, shelf, chat, may_upload=_may_upload(settings, is_local=is_local))
    beside = _beside_the_page(
        page, chat, options, shelf=shelf, parts=parts, documents=documents, mcp=mcp, is_local=is_local
    )
    beside["routes"] += own.routes

    def may_see_figures(request: Request) -> bool:
        """Whoever may read everything: the figures count all passages."""
        return may_read(page, users, request) and parts.readers.names(person_at(request)) is None

    beside["routes"] += monitor(chat, settings, passages_on(shelf, serving.manifest), may_see_figures)
    chat.preload(settings.retriever.kind)
    if not serving.manifest.corpus_path:  # an index of documents may be watched
        shelf.keep_following(chat)
    address = _launch(page, host, port, users, settings, guarded(beside, page, settings, host, users, room))
    note_index(index, made=False)
    # `rag ask` of the same person is answered by the models that are loaded here.
    nearby = Nearby(serving, settings, chat, lambda: shelf.retrievers.index.get().manifest.fingerprint)
    close_door = open_door(nearby, address)
    show(f"The chat is at {address}, its API at {address.rstrip('/')}/v1 (Ctrl+C ends it)")
    if until is not None:
        until.wait()
        close_door()
        end(page, chat)
    elif block:
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

    uploads = uploads_folder(index)

    def add_to_index(paths: Sequence[str], **where: Any) -> Ingested:
        most = int(settings.serving.max_added_mib * MIB)
        check_room(uploads, paths, most, "the files that were added to the index from here")
        return add_files(settings, paths, index, uploads, **where)

    shelf = Shelf(
        index,
        open_retrievers=lambda encoder: Retrievers(settings, index, encoder),
        add_files=add_to_index,
        attachments=attachments,
        add_address=partial(add_address, settings, index),
        remove=lambda sha256, within: remove_from_index(settings, sha256, index, uploads, within=within),
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
        remove=lambda sha256, index, copies: remove_from_index(flat, sha256, index, copies, encoder=encoder()),
    )
    limits = settings.serving.max_conversation_mib, settings.serving.max_added_mib
    return Attachments(root, indexing, kept, *(int(mib * MIB) for mib in limits))


def _may_upload(settings: Settings, *, is_local: bool) -> bool:
    """Whether documents can be added, from the page and over the API."""
    return settings.serving.uploads == "on" or (settings.serving.uploads == "auto" and is_local)


def _beside_the_page(
    page: gr.Blocks,
    chat: Chat,
    options: Options,
    *,
    shelf: Shelf,
    parts: PageParts,
    documents: DocumentFiles,
    mcp: bool,
    is_local: bool,
) -> dict:
    """What the page's application serves besides the page: API, pages of sources and, with `mcp`, the tools."""
    users, limit, readers = parts.access.users, parts.access.limit, parts.readers
    api = make_router(chat, options, users=users, limit=limit, collections=shelf.collections, documents=documents)
    sources = Sources(shelf.index, lambda: shelf.retrievers.index.get())
    for name in readers.unknown():
        say(f"warning: the users file closes the collection {name!r}, and none of this index has that name")
    keeper_of = parts.history.keeper_of if users is not None else lambda key: None
    source_pages = make_source_router(
        sources, partial(may_read, page, users), shelf.attachments.sources, readers, keeper_of
    )
    beside: dict = {"routes": [*api.routes, *source_pages.routes]}
    if mcp:
        from rag.serve.library import Library
        from rag.serve.mcp import tools_over

        library = Library(chat, options, sources, shelf.collections, readers)
        tools = tools_over(
            library,
            limit,
            partial(key_of, users),
            lambda request: users is None or bool(key_of(users, request)),
            local=is_local,
        )
        beside["routes"] += tools.routes
        beside["lifespan"] = tools.lifespan
    beside["middleware"] = [Middleware(NoticeLeaving, chat.left)]
    return beside


def _launch(
    page: gr.Blocks, host: str, port: int, users: Users | None, settings: Settings, beside: dict[str, Any]
) -> str:
    """Serve the page in a thread of its own; returns its address."""
    _keep_loopback_off_proxies()
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            quiet=True,
            prevent_thread_lock=True,
            run_history=False,  # else the browser keeps every question and answer, of whoever sits there
            root_path=public_address(settings),
            state_session_capacity=VISITS_KEPT,
            auth=password_check(users) if users is not None else None,
            app_kwargs=beside,
            ssr_mode=False,
        )
    except OSError as error:
        raise RagError(f"port {port} on {host} cannot be used ({error}); choose another: --port 7861") from error
    except ValueError:
        # Gradio asks its own address once, and gives up after three seconds: a busy machine answers later.
        if page.server is None or not page.server.started:
            raise
        address = f"http://{host}:{port}/"
    bound_connections(page.server, page.app, behind_proxy=bool(settings.serving.origins))
    return address


def _keep_loopback_off_proxies() -> None:
    """Keep requests to this machine off its proxy: Gradio asks its own address once at the start."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", "::1"]))
