"""What the page is made of, from what serves over an index."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rag.build.serving import Serving
from rag.models.resolve import rag_home
from rag.serve.access import Access
from rag.serve.chat import Chat
from rag.serve.history import History, history_path
from rag.serve.monitoring import passages_on
from rag.serve.offered import offered_models
from rag.serve.page_parts import PageParts
from rag.serve.readers import Readers
from rag.serve.shelf import Shelf
from rag.serve.suggestions import Suggestions
from rag.serve.turns import Options
from rag.serve.visits_history import VisitsHistory

if TYPE_CHECKING:
    from rag.serve.upload_room import UploadRoom

EMBEDDED_EXAMPLES = (
    "What does the nonlocal statement do?",
    "When is the else clause of a for loop executed?",
    "What is an orphan in a bonsai garden?",
)


def make_page_parts(
    serving: Serving,
    chat: Chat,
    options: Options,
    *,
    shelf: Shelf,
    access: Access,
    history: History | None,
    room: UploadRoom | None,
    is_local: bool,
) -> PageParts:
    """The parts of the page. `history` is None where conversations are not kept: they last as long as the chat.

    `is_local`: nobody but the person at this machine reaches it. `room` is None where nobody may add files.
    """
    settings, corpus = serving.settings, serving.manifest.corpus_path
    is_embedded = corpus == "embedded"
    readers = Readers(access.users, shelf.collections)
    suggestions = Suggestions(
        chat,
        lambda: shelf.retrievers.index.get().corpus,
        readers,
        history_path(rag_home(), shelf.index).with_suffix(".questions.json"),
        EMBEDDED_EXAMPLES if is_embedded else (),
        beside=lambda: shelf.retrievers.index.get().questions().questions,
    )
    return PageParts(
        chat,
        options,
        history if history is not None else VisitsHistory(),
        access,
        keeps_history=history is not None,
        is_local=is_local,
        shelf=shelf,
        attachments=shelf.attachments if room is not None else None,
        room=room,
        readers=readers,
        n_passages=passages_on(shelf, serving.manifest),
        # An index of a corpus file is made from that file alone; files can still be added to a conversation.
        add_to_all=partial(shelf.add, chat=chat) if room is not None and not corpus else None,
        title="Ask the Python language reference" if is_embedded else "Ask your documents",
        index=None if is_embedded else shelf.index,
        models=offered_models(settings),
        suggestions=suggestions,
        max_waiting=settings.serving.max_waiting,
    )
