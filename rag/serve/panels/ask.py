"""The chat: its turns, and the composer that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from rag.serve.access import Access
from rag.serve.chat import Chat
from rag.serve.html import chat_messages, sources_html
from rag.serve.panels.session import PRIVATE, QUEUED, QUIET, UNQUEUED, Session
from rag.serve.turns import Options, Turn, settle

FEEDBACK = ["Like", "Dislike", "Wrong source", "Should have refused", "Should have answered"]


class AskPanel:
    """The turns of a conversation with the composer below them.

    `options_of` makes the options of a question of the values of `chosen`, the elements that `wire` is given. With
    `feedback` answers can be judged.
    """

    def __init__(
        self,
        chat: Chat,
        access: Access,
        session: Session,
        options_of: Callable[..., Options],
        *,
        examples: Sequence[str],
        feedback: bool,
    ):
        self._chat, self._access, self._session, self._options_of = chat, access, session, options_of
        self._pending = gr.State("")
        self.chatbot = gr.Chatbot(
            elem_id="chat",
            show_label=False,
            height=480,
            feedback_options=FEEDBACK if feedback else None,
            buttons=["copy"],
        )
        self._searched_for = gr.Textbox(
            label="Searched for this; edit it and press Enter to search again",
            visible=False,
            elem_id="searched-for",
            max_lines=2,
        )
        self._question = gr.Textbox(
            placeholder="Ask a question about these documents", show_label=False, elem_id="question", max_lines=4
        )
        with gr.Row():
            self._send = gr.Button("Ask", variant="primary", elem_id="ask")
            self._stop = gr.Button("Stop", elem_id="stop")
            self._again = gr.Button("Retry", elem_id="retry")
            self.clear = gr.Button("New", elem_id="clear")
        if examples:
            gr.Examples([[example] for example in examples], inputs=[self._question], label="Try one")

    def show_sources(self) -> None:
        """Add the sources of the answers, which stand beside the chat."""
        self._sources = gr.HTML(sources_html(()), elem_id="sources")

    @property
    def view(self) -> list[Component]:
        """The elements that show a conversation, in the order of the values of `viewed`."""
        return [self._session.turns, self.chatbot, self._sources, self._searched_for]

    def wire(self, chosen: Sequence[Component]) -> list[Dependency]:
        """Ask, ask again, and stop. Returns the events that end a turn, after its answer and after Stop alike.

        A question is asked in two events: the first, which Stop does not cancel, says whether it may be asked.
        """
        turns, growing = self._session.turns, self.view[:3]
        running: list[Dependency] = []
        # All triggers together share a limit of what runs at once; without an id of theirs each would have its own.
        for trigger in (self._question.submit, self._send.click):
            taken = trigger(
                self.take, [self._question, turns], [self._question, self._pending], concurrency_id="take", **QUEUED
            )
            inputs = [self._pending, turns, *chosen]
            running.append(taken.success(self.grow, inputs, growing, concurrency_id="grow", **PRIVATE))
        for trigger in (self._again.click, self.chatbot.retry, self._searched_for.submit):
            allowed = trigger(self.may_ask_again, [turns], None, concurrency_id="may_ask_again", **QUEUED)
            inputs = [self._searched_for, turns, *chosen]
            running.append(allowed.success(self.ask_again, inputs, growing, concurrency_id="ask_again", **PRIVATE))
        self.running: list[dict[str, Any]] = list(running)
        self._stop.click(None, cancels=self.running, queue=False)
        return [event.then(self.settled, [turns], self.view, **QUIET) for event in running]

    def wire_clear(self) -> Dependency:
        """Begin another conversation, without files of its own."""
        outputs = [*self.view, self._session.attached]
        return self.clear.click(lambda: (*viewed(()), ""), None, outputs, cancels=self.running, **UNQUEUED)

    def take(self, text: str | None, turns: Sequence[Turn], request: gr.Request) -> tuple[str, str]:
        """The question box emptied, and the question, where one may be asked now."""
        self._check_may_ask(turns, request)
        return "", text or ""

    def grow(
        self, question: str, turns: Sequence[Turn], *chosen: object, search_for: str = ""
    ) -> Iterator[tuple[list[Turn], list[gr.MessageDict], str]]:
        """The conversation as its next answer grows."""
        for turn in self._chat.ask(question, turns, self._options_of(*chosen), search_for=search_for):
            now = [*turns, turn]
            yield now, chat_messages(now), sources_html(now)

    def may_ask_again(self, turns: Sequence[Turn], request: gr.Request) -> None:
        """Ends the chain of events where the last question cannot be asked again."""
        if not turns:
            raise _end_of_chain()
        self._check_may_ask(turns, request)

    def ask_again(
        self, text: str, turns: Sequence[Turn], *chosen: object
    ) -> Iterator[tuple[list[Turn], list[gr.MessageDict], str]]:
        """The last question once more; it is searched for `text` where there is one."""
        yield from self.grow(turns[-1].question, turns[:-1], *chosen, search_for=text)

    def settled(self, turns: Sequence[Turn]) -> tuple:
        """The conversation once its last turn has ended, or was stopped."""
        return viewed(settle(turns))

    def _check_may_ask(self, turns: Sequence[Turn], request: gr.Request) -> None:
        """Ends the chain of events, and says why, where nothing can be asked now."""
        if not self._access.allows(request):
            gr.Info("You may no longer ask here.")
        elif turns and not turns[-1].done:
            gr.Info("One question at a time: wait for the answer, or press Stop.")
        elif (seconds := self._access.wait_seconds(request)) > 0:
            gr.Info(f"Too many questions in a minute; ask again in {seconds:.0f} s.")
        else:
            return
        raise _end_of_chain()


def viewed(turns: Sequence[Turn]) -> tuple[list[Turn], list[gr.MessageDict], str, gr.Textbox]:
    """A conversation as the values of `AskPanel.view`."""
    return list(turns), chat_messages(turns), sources_html(turns), _searched_for_box(turns)


def _searched_for_box(turns: Sequence[Turn]) -> gr.Textbox:
    """What was searched for in place of the last question, to be edited; hidden where it was the same."""
    searched_for = turns[-1].searched_for if turns and turns[-1].done else ""
    return gr.Textbox(searched_for, visible=bool(searched_for))


def _end_of_chain() -> gr.Error:
    """An error that ends a chain of events and is shown nowhere."""
    return gr.Error(visible=False, print_exception=False)
