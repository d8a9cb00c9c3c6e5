"""The end of a chat: answers under way end with a sentence, and nothing new begins."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING

from rag.serve.chat import Chat

if TYPE_CHECKING:
    import gradio as gr

ENDING = "The chat is ending; ask again when it is back."
SECONDS_FOR_ANSWERS = 3.0
SECONDS_TO_SEND = 0.3
SECONDS_FOR_CONNECTIONS = 2.0
_LOOK_EVERY_SECONDS = 0.05


def end(page: gr.Blocks, chat: Chat) -> None:
    """End the chat within a few seconds.

    Whoever waits for an answer is told. An answer that does not stop in time, and connections that stay open, end with
    the process.
    """
    is_answering = chat.n_waiting > 0
    chat.close(ENDING)
    deadline = time.monotonic() + SECONDS_FOR_ANSWERS
    while chat.n_waiting and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_SECONDS)
    if is_answering:
        time.sleep(SECONDS_TO_SEND)
    # Gradio waits longer for connections that stay open.
    closing = threading.Thread(target=functools.partial(page.close, verbose=False), daemon=True)
    closing.start()
    closing.join(SECONDS_FOR_CONNECTIONS)
