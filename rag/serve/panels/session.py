"""What the page remembers of each visitor, and how an event runs that nobody should notice."""

from __future__ import annotations

from typing import Literal, TypedDict

import gradio as gr


class EventOptions(TypedDict, total=False):
    """Options of Gradio's events that the panels use."""

    queue: bool
    show_progress: Literal["hidden"]
    api_visibility: Literal["private"]


# No event of the page is part of its API. A handler says something (gr.Info) to the visitor only when it is queued.
PRIVATE: EventOptions = {"api_visibility": "private"}
UNQUEUED: EventOptions = {"queue": False, "api_visibility": "private"}
QUEUED: EventOptions = {"show_progress": "hidden", "api_visibility": "private"}
QUIET: EventOptions = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


class Session:
    """The values of one visit that several panels share. Built once for the page, held by Gradio for each visitor.

    `turns` is the conversation, `kept_id` its id in the history ("" where it is not kept), `attached` the key of its
    own files ("" where it has none).
    """

    def __init__(self) -> None:
        self.turns = gr.State([])
        self.kept_id = gr.State("")
        self.attached = gr.State("")
