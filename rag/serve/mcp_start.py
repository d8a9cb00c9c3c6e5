"""Starting the tools over stdin and stdout: what serves over an index, without page, users and history."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from rag.build.pipelines import depths_of
from rag.build.retrievers import Retrievers
from rag.build.serving import serving_over
from rag.config import Settings
from rag.errors import RagError
from rag.progress import say
from rag.serve.library import Library, url_on_disk
from rag.serve.making import make_chat
from rag.serve.mcp_server import ToolServer
from rag.serve.mcp_stdio import leave, serve_stdio
from rag.serve.mcp_tools import Asked, library_tools, reading
from rag.serve.pipes import Pipes
from rag.serve.readers import Readers
from rag.serve.shelf import Shelf
from rag.serve.sources import Sources
from rag.serve.turns import Options
from rag.serve.users import Users

if TYPE_CHECKING:
    from rag.serve.attachments import Attachments
    from rag.serve.chat import Chat


def serve_tools(
    settings: Settings,
    index: str | Path,
    pipes: Pipes,
    *,
    only: Sequence[str] | None = None,
    users: Path | None = None,
    person: str = "",
) -> NoReturn:
    """Serve the documents of an index to the assistant at the other end of `pipes`; when it leaves, the process ends.

    With `only` it gets these collections alone, and with `users` what the person may read by that file.

    What searches loads at once, in the background; the generator with the first question. Raises what `serving_over`
    raises.
    """
    serving = serving_over(settings, index)
    shelf = Shelf(
        index,
        open_retrievers=lambda encoder: Retrievers(serving.settings, index, encoder),
        add_files=_no_files,
        attachments=cast("Attachments", None),  # no conversation is kept, so none has files of its own
    )
    chat = make_chat(serving, lambda: shelf.retrievers, shelf.narrowed)
    options = Options(serving.settings.retriever.kind, depths_of(serving.settings))
    sources = Sources(shelf.index, lambda: shelf.retrievers.index.get())
    readers = Readers(Users(users) if users is not None else None, shelf.collections, only)
    library = Library(chat, options, sources, shelf.collections, readers)
    url_of = url_on_disk(lambda: library.collections(person))
    tools = library_tools(library, lambda asked: None, lambda asked: url_of)
    reads = reading(library, lambda asked: None, lambda asked: url_of)
    server = ToolServer(tools, lambda context: Asked(who=person), reads=reads)
    threading.Thread(target=_load, args=(chat, options.retriever), daemon=True).start()
    if not serving.manifest.corpus_path:  # an index of documents may be watched
        shelf.keep_following(chat)
    serve_stdio(server, pipes)
    sources.close()
    chat.close("the assistant has left")
    leave()


def _load(chat: Chat, kind: str) -> None:
    try:
        chat.retrievers[kind].get()
        chat.reranker.get()
    except RagError as error:  # the first call says so, too
        say(f"not ready: {error}")


def _no_files(paths: Sequence[str]) -> NoReturn:
    raise RagError("over stdin and stdout no files can be added; rag ingest adds them")
