"""The chat page: panels around `rag.serve.chat.Chat`, laid out and wired to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from rag.errors import RagError
from rag.serve.access import Access, asker_of
from rag.serve.asking import answer_once
from rag.serve.attachments import Attachments
from rag.serve.chat import Chat
from rag.serve.history import History
from rag.serve.html import escape
from rag.serve.panels.ask import AskPanel
from rag.serve.panels.documents import DocumentsPanel
from rag.serve.panels.history import HistoryPanel
from rag.serve.panels.session import Session
from rag.serve.panels.settings import SettingsPanel
from rag.serve.panels.status import StatusPanel
from rag.serve.panels.uploads import UploadsPanel
from rag.serve.turns import Options

AT_ONCE = 8


class Page:
    """The chat page; `blocks` is what Gradio serves. Every visitor has a conversation of their own.

    `defaults` are the options that the settings begin with. With `history` conversations are kept. `collections` gives
    the documents by the folder that they were ingested from. With `add_to_all` files can be added to these: it takes
    their paths and returns lines that say what was done. With `attachments` files can be added to one conversation,
    which alone answers from them. At most `max_waiting` events wait in the queue.
    """

    def __init__(
        self,
        chat: Chat,
        defaults: Options,
        *,
        title: str,
        examples: Sequence[str] = (),
        access: Access | None = None,
        history: History | None = None,
        collections: Callable[[], Mapping[str, Sequence[Mapping]]] = dict,
        add_to_all: Callable[[Sequence[str]], Sequence[str]] | None = None,
        attachments: Attachments | None = None,
        max_waiting: int = 64,
    ):
        self._chat, self._defaults, self._access = chat, defaults, access or Access()
        with gr.Blocks(title=title, fill_height=True) as self.blocks:
            session = Session()
            self._history = HistoryPanel(history, attachments, session) if history is not None else None
            self._lay_out_documents(session, collections, add_to_all, attachments, history)
            gr.Markdown(f"# {escape(title)}")
            self._status = StatusPanel(chat)
            self._lay_out_chat(session, examples, feedback=history is not None)
            self._wire()
        self.blocks.queue(default_concurrency_limit=AT_ONCE, max_size=max_waiting)

    def _lay_out_documents(
        self,
        session: Session,
        collections: Callable[[], Mapping[str, Sequence[Mapping]]],
        add_to_all: Callable[[Sequence[str]], Sequence[str]] | None,
        attachments: Attachments | None,
        history: History | None,
    ) -> None:
        """The right-hand bar: what to search in, files to add, and the list of documents."""
        is_shown = bool(collections()) or add_to_all is not None or attachments is not None
        with gr.Sidebar(open=False, visible=is_shown, position="right", elem_id="documents"):
            gr.Markdown("### Documents")
            self._documents = DocumentsPanel(collections, attachments, session)
            self._uploads = UploadsPanel(session, self._access, add_to_all, attachments, history)
            self._documents.show_list()

    def _lay_out_chat(self, session: Session, examples: Sequence[str], *, feedback: bool) -> None:
        """The chat, with its sources and settings beside it."""
        with gr.Row():
            with gr.Column(scale=3):
                self._ask = AskPanel(
                    self._chat, self._access, session, self._options_of, examples=examples, feedback=feedback
                )
            with gr.Column(scale=2):
                self._ask.show_sources()
                self._settings = SettingsPanel(self._chat.retrievers, self._defaults)

    def _wire(self) -> None:
        """Connect the panels: what ends a turn, what leaves a conversation, and what shows another."""
        ended = self._ask.wire([*self._settings.inputs, *self._documents.inputs])
        uploaded = self._uploads.wire()
        changed = [self._ask.wire_clear()]
        leaving: list[Callable] = [self._ask.clear.click]
        if self._history is not None:
            changed += self._history.wire(self.blocks, self._ask, ended)
            leaving += [self._history.kept.input, self._history.delete.click]
        shown = self._documents.wire(self.blocks, changed, uploaded)
        self._uploads.wire_leaving(leaving, shown)
        gr.api(self.ask_once, api_name="ask")
        self._status.wire()

    def _options_of(self, *chosen: Any) -> Options:
        """The options of a question, of the values of the settings and then of the documents."""
        n_settings = len(self._settings.inputs)
        options = self._settings.options(*chosen[:n_settings])
        return self._documents.narrow(options, *chosen[n_settings:])

    def ask_once(self, question: str, request: gr.Request) -> dict:
        """Answer a standalone question: the answer, its citations, and whether it abstained."""
        if not self._access.allows(request):
            raise gr.Error("You may no longer ask here.")
        try:
            return answer_once(self._chat, self._defaults, self._access.limit, asker_of(request), question)
        except RagError as error:
            raise gr.Error(str(error)) from error
