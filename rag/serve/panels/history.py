"""The conversations that are kept: open, search, rename, delete, export and judge them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import gradio as gr
from gradio.events import Dependency

from rag.serve.access import person_of
from rag.serve.assets import read_static
from rag.serve.attachments import Attachments
from rag.serve.export import as_markdown
from rag.serve.history import History
from rag.serve.html import chat_messages
from rag.serve.panels.ask import AskPanel, viewed
from rag.serve.panels.session import PRIVATE, QUIET, Session
from rag.serve.turns import Turn


class HistoryPanel:
    """The left-hand bar with the kept conversations of the person who asks."""

    def __init__(self, history: History, attachments: Attachments | None, session: Session):
        self._history, self._attachments, self._session = history, attachments, session
        self._exported = gr.Textbox(visible=False)
        with gr.Sidebar(open=False, elem_id="history"):
            gr.Markdown("### Conversations")
            self._words = gr.Textbox(label="Search", elem_id="history-search")
            self.kept = gr.Radio([], label="Open one", elem_id="history-list")
            with gr.Row():
                self._title = gr.Textbox(label="New title", elem_id="history-title", scale=2)
                self._rename = gr.Button("Rename", elem_id="history-rename", scale=1)
            with gr.Row():
                self._export = gr.Button("Export", elem_id="history-export")
                self.delete = gr.Button("Delete", variant="stop", elem_id="history-delete")

    def wire(self, page: gr.Blocks, ask: AskPanel, ended: Iterable[Dependency]) -> list[Dependency]:
        """Keep a conversation on the events that end a turn, and handle the bar's own events.

        Returns the events that show another conversation.
        """
        turns, kept_id, attached = self._session.turns, self._session.kept_id, self._session.attached
        opened, view = [kept_id, self.kept], [*ask.view, attached]
        for event in ended:
            event.then(self.keep, [turns, kept_id, self._words, attached], opened, **QUIET)
        ask.clear.click(lambda: ("", None), None, opened, **QUIET)
        loaded = self.kept.input(self.load, [self.kept], [kept_id, *view], cancels=ask.running, **QUIET)
        page.load(self.relisted, [self._words, kept_id], [self.kept], **QUIET)
        self._words.change(self.relisted, [self._words, kept_id], [self.kept], **QUIET)
        self._rename.click(self.renamed, [kept_id, self._title, self._words], [self._title, self.kept], **QUIET)
        deleted = self.delete.click(
            self.deleted, [kept_id, self._words], [*opened, *view], cancels=ask.running, **QUIET
        )
        exported = self._export.click(self.exported, [kept_id, turns], [self._exported], **QUIET)
        exported.then(None, [self._exported], None, js=read_static("save_text.js"), **PRIVATE)
        ask.chatbot.like(self.judge, [kept_id], None, **QUIET)
        return [loaded, deleted]

    def keep(self, turns: list[Turn], key: str, words: str, attached: str, request: gr.Request) -> tuple:
        """Store the conversation; its id, and the list with it."""
        key = self._history.keep(person_of(request), key, turns, attached)
        return key, self._listed(person_of(request), key, words)

    def load(self, key: str | None, request: gr.Request) -> tuple:
        """A kept conversation: its id, the values of the view with the judgements, and the key of its own files."""
        if not key:
            return "", *viewed(()), ""
        person = person_of(request)
        turns, _, sources, searched_for = viewed(self._history.load(person, key))
        chatbot = gr.Chatbot([*chat_messages(turns)], feedback_value=self._history.judgements(person, key))
        return key, turns, chatbot, sources, searched_for, self._history.attached(person, key)

    def relisted(self, words: str, key: str, request: gr.Request) -> gr.Radio:
        """The list of the conversations that hold the words."""
        return self._listed(person_of(request), key, words)

    def renamed(self, key: str, title: str, words: str, request: gr.Request) -> tuple:
        """The title box emptied, and the list with the new title."""
        self._history.rename(person_of(request), key, title)
        return "", self._listed(person_of(request), key, words)

    def deleted(self, key: str, words: str, request: gr.Request) -> tuple:
        """Delete a conversation with its files; no id, the list without it, and an empty view."""
        if self._attachments is not None:
            self._attachments.drop(self._history.attached(person_of(request), key))
        self._history.delete(person_of(request), key)
        return "", self._listed(person_of(request), "", words), *viewed(()), ""

    def exported(self, key: str, turns: list[Turn], request: gr.Request) -> str:
        """The conversation as Markdown."""
        titles = {kept.id: kept.title for kept in self._history.find(person_of(request))}
        return as_markdown(titles.get(key, "Conversation"), turns)

    def judge(self, key: str, data: gr.LikeData, request: gr.Request) -> None:
        """Remember a judgement of an answer. `liked` is one of the feedback options, or empty when taken back."""
        given = cast("bool | str", data.liked)
        liked = given in ("Like", True) if given else None
        reason = given if isinstance(given, str) and given not in ("Like", "Dislike") else ""
        # Every turn is two messages, its question and its answer.
        index = data.index if isinstance(data.index, int) else data.index[0]
        self._history.judge(person_of(request), key, index // 2 + 1, liked, reason)

    def _listed(self, person: str, chosen: str, words: str = "") -> gr.Radio:
        found = self._history.find(person, words)
        choices = [(f"{kept.title} ({kept.updated[:10]})", kept.id) for kept in found]
        return gr.Radio(choices, value=chosen if any(kept.id == chosen for kept in found) else None)
