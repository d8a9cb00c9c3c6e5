"""The line that says how far the models are loaded."""

from __future__ import annotations

import gradio as gr

from rag.serve.chat import Chat
from rag.serve.html import status_html
from rag.serve.panels.session import QUEUED

SECONDS_BETWEEN_LOOKS = 1.0


class StatusPanel:
    """The chat's status, looked at again until it is ready."""

    def __init__(self, chat: Chat):
        self._chat = chat
        self.line = gr.HTML(status_html(chat.status), elem_id="status")

    def wire(self) -> None:
        """Start looking when the page opens."""
        self.timer = gr.Timer(SECONDS_BETWEEN_LOOKS)
        self.timer.tick(self.look, None, [self.line, self.timer], **QUEUED)

    def look(self) -> tuple[str, gr.Timer]:
        """The line as it is now; the timer stops once the chat is ready."""
        return status_html(self._chat.status), gr.Timer(active=not self._chat.ready)
