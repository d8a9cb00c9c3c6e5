"""One question of the page while it is answered: made in one thread, kept as it grows, looked at by another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rag.errors import DataError
from rag.evidence import USUAL_SCALE, MatchScale
from rag.progress import Waiting, working_for
from rag.serve.asked import Asked
from rag.serve.kept import Begun
from rag.serve.page_parts import PageParts
from rag.serve.stored_turns import About
from rag.serve.turns import Options, Turn, settle
from rag.serve.view import turn_view
from rag.serve.view.ranks import about_scale
from rag.terminal import plain_logger

SPAN_READER = "Span reader"
SECONDS_UNSAID = 0.3
"""A place may need this long to take the next question."""

log = plain_logger(__name__)


class Answering:
    """A turn that is being answered. `waiting` is whoever waits for it; `ahead` is how many wait before it.

    `ended` is set once the turn is kept as it ended.
    """

    def __init__(self, parts: PageParts, person: str, begun: Begun, asked: Asked, options: Options):
        self.person, self.begun = person, begun
        self.waiting, self.ended, self.ahead = Waiting(), threading.Event(), 0
        self._parts, self._asked, self._options = parts, asked, options
        self._turn = Turn(asked.question.strip(), status="Searching…", attached=options.attached)
        self._started, self._seconds = time.monotonic(), 0.0
        self._is_begun = False
        self._scales: list[MatchScale | None] = []  # at most one
        self._tell: Callable[[], object] = lambda: None

    def listen(self, tell: Callable[[], object]) -> None:
        """Call this whenever there is more to see."""
        self._tell = tell

    def work(self) -> str:
        """Answer the question; returns what went wrong with keeping the answer, "" for nothing."""
        self._is_begun = True
        try:
            if not self.waiting.has_left:  # they left while they waited in line
                self._answer()
        finally:
            self._seconds = time.monotonic() - self._started
            (self._turn,) = settle([self._turn])
            try:
                self._parts.history.finish(self.begun, self._turn, self._about())
            except DataError as error:
                log.warning("%s", error)
                return f"The answer could not be kept: {error}"
            finally:
                self.ended.set()
        return ""

    def _answer(self) -> None:
        asked = self._asked
        with working_for(self.waiting):
            turns = self._parts.chat.ask(asked.question, self.begun.before, self._options, search_for=asked.search_for)
        try:
            while True:
                with working_for(self.waiting):
                    turn = next(turns, None)
                if turn is None or (self.waiting.has_left and not self.waiting.reason):
                    return  # what there is stays as it is
                self._turn = turn
                self._tell()
                still_allowed = self._parts.access.users is None or self._parts.access.users.knows(self.person)
                if not turn.done and not (self._parts.history.grow(self.begun, turn, self._about()) and still_allowed):
                    self.waiting.leave()
        finally:
            if (close := getattr(turns, "close", None)) is not None:
                close()

    def view(self) -> dict:
        """The turn as the page shows it, as it is now."""
        turn, parts = self._turn, self._parts
        seconds = self._seconds or time.monotonic() - self._started
        view = turn_view(
            turn,
            number=self.begun.number,
            conversation=self.begun.conversation,
            seconds=seconds,
            model=self._label(),
            searched_in=self._searched_in(),
            may_add=parts.may_upload,
            may_lower=self._options.strictness != 0,
            scale=self._scale(),
        )
        if not self._is_begun and seconds > SECONDS_UNSAID:
            view["status"] = f"{self.ahead + 1} in line…" if self.ahead else "Waiting for others to be answered…"
        return view

    def _about(self) -> About:
        said = {"model": self._label(), "searched_in": self._searched_in()}
        seconds = round(time.monotonic() - self._started, 1)
        scale = about_scale(self._scale()) if self._turn.response else {}
        return {**{name: text for name, text in said.items() if text}, "seconds": seconds, **scale}

    def _scale(self) -> MatchScale | None:
        """How well rerank scores match, looked up once there are some: by then the models are loaded."""
        if self._turn.response and not self._scales:
            self._scales.append(self._parts.chat.match_scale())
        return self._scales[0] if self._scales else USUAL_SCALE

    def _label(self) -> str:
        """Who answered, in words: the model that was asked, or the span reader; "" for a refusal without either."""
        answer = self._turn.response.answer if self._turn.done and self._turn.response else None
        if answer is not None and self._turn.response and "answer" not in self._turn.response.tokens:
            return "" if answer.abstained else SPAN_READER
        return next((model.label for model in self._parts.models if model.name == self._asked.model), "")

    def _searched_in(self) -> str:
        """Where was searched, "" for all documents."""
        collections = self._options.collections
        if collections is None:
            return ""
        names = [f"“{name}”" for name in collections]
        if self._options.attached:
            names.append("the files of this conversation")
        return " and ".join(names)
