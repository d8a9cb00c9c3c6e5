"""The chat behind page, API and tools: a question and the turns before it become a growing turn."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rag.errors import ConfigError, RagError
from rag.evidence import USUAL_SCALE, MatchScale, Threshold
from rag.generate.prompts import Prompt
from rag.generate.rewrite import needs_rewriting, rewrite_question
from rag.lazy import Lazy
from rag.pipeline import Mixing, Pipeline, Reading
from rag.progress import Waiting, steps_for, who_waits
from rag.retrieve.follow_up import FollowUpRetriever
from rag.serve.before import MAX_CHARACTERS_KEPT, what_was_before
from rag.serve.turns import Options, Turn, outcome, was_answered
from rag.serve.watching import Watcher, watched
from rag.serve.writers import Writer
from rag.terminal import plain_logger
from rag.types import Generator, Query, Reranker, Response, Retriever

MAX_QUESTION_CHARACTERS = 2000

log = plain_logger(__name__)


class Chat:
    """Answers questions with components that everybody shares. It keeps no turns: many people may ask side by side.

    `threshold_at` gives the score below which a question is refused, by the strictness (None: as calibrated).
    `narrow` gives a retriever by its name, the collections to search (None: all) and the key of attached files.
    `reading` is a span reader, where one reads. `checks_support`: answers are compared with what they cite.
    `latin_alone` and `mixing` are as for `Pipeline`. `writers` are what may write answers instead, by the name of
    `Options.model`; each is made when it is first asked. `match_scale` says which rerank logits match well; None where
    nothing tells. `watchers` are told of every question once it has ended.
    """

    def __init__(
        self,
        retrievers: dict[str, Lazy[Retriever]],
        reranker: Lazy[Reranker],
        generator: Lazy[Generator],
        prompt: Prompt,
        threshold_at: Callable[[float | None], Threshold | None],
        order: str = "best-first",
        sentence_margin: float | None = None,
        narrow: Callable[[str, Sequence[str] | None, str], Lazy[Retriever]] | None = None,
        reading: Reading | None = None,
        *,
        checks_support: bool = False,
        latin_alone: bool = False,
        mixing: Mixing | None = None,
        writers: Mapping[str, Lazy[Writer]] | None = None,
        match_scale: Callable[[], MatchScale | None] = lambda: USUAL_SCALE,
    ):
        self.retrievers = retrievers
        self.reranker = reranker
        self.generator = generator
        self.prompt = prompt
        self.threshold_at = threshold_at
        self.order = order
        self.sentence_margin = sentence_margin
        self.narrow = narrow
        self.reading = reading
        self.checks_support = checks_support
        self.latin_alone = latin_alone
        self.mixing = mixing
        self.writers = dict(writers or {})
        self.match_scale = match_scale
        self.status = "Models load with the first question."
        self.ready = False
        self.watchers: list[Watcher] = []
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = []
        self._closed = ""

    @property
    def n_waiting(self) -> int:
        """How many questions are being answered."""
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        """Whether the chat has ended, and answers nothing any more."""
        return bool(self._closed)

    def left(self, name: str) -> None:
        """Stop what is done for whoever is known by this name (`rag.progress.Waiting`): they are gone."""
        self._leave(name)

    def close(self, reason: str) -> None:
        """End every question that is being answered, and each one that comes, with this sentence."""
        self._closed = reason
        self._leave(None, reason)

    def _leave(self, name: str | None, reason: str = "") -> None:
        with self._lock:
            leaving = [waiting for waiting in self._waiting if name is None or name in waiting.names]
        for waiting in leaving:
            waiting.leave(reason)

    @contextlib.contextmanager
    def _registered(self, waiting: Waiting) -> Iterator[None]:
        with self._lock:
            self._waiting.append(waiting)
        try:
            if self._closed:
                waiting.leave(self._closed)
            yield
        finally:
            with self._lock:
                self._waiting.remove(waiting)

    def preload(self, retriever: str) -> threading.Thread:
        """Load the models in a background thread, which is returned; `status` says how far it is."""

        def work() -> None:
            steps: list[tuple[str, Lazy[Any]]] = [
                ("Loading the retriever…", self.retrievers[retriever]),
                ("Loading the reranker…", self.reranker),
                *([("Loading the reader…", self.reading.reader)] if self.reading else []),
                ("Loading the generator…", self.generator),
            ]
            try:
                for self.status, component in steps:
                    component.get()
                self.status, self.ready = "Ready.", True
            except RagError as error:
                self.status = f"Not ready: {error}"
            except Exception as error:
                log.exception("loading failed")
                self.status = f"Not ready: {error}"

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def ask(self, question: str, history: Sequence[Turn], options: Options, *, search_for: str = "") -> Iterator[Turn]:
        """Growing snapshots of one turn; the last has `done`. A failure becomes a sentence in the turn.

        `history` are the turns before it: a follow-up is rewritten to stand alone, unless `search_for` says what to
        search for. Once whoever the calling thread works for has left (`rag.progress.working_for`), the work stops at
        its next step, or the generator at its next token, and the turn ends with an error.
        """
        failures: list[BaseException] = []
        turns = self._ask(question, history, options, search_for, failures)
        yield from watched(turns, self.watchers, options.model, failures) if self.watchers else turns

    def _ask(
        self,
        question: str,
        history: Sequence[Turn],
        options: Options,
        search_for: str,
        failures: list[BaseException],
    ) -> Iterator[Turn]:
        """As `ask`; what ends the turn early is added to `failures`."""
        question, search_for = question.strip(), search_for.strip()
        turn = Turn(
            question,
            "" if search_for == question else search_for,
            attached=options.attached,
            narrowed=options.collections is not None,
        )
        if not question:
            yield dataclasses.replace(turn, error="Type a question first.", done=True, refused=True)
            return
        if (refused := _too_long(turn, search_for)) is not None:
            yield refused
            return
        waiting = who_waits() or Waiting()
        try:
            with self._registered(waiting):
                yield from steps_for(waiting, self._answer(turn, history, options, search_for))
        except RagError as error:
            failures.append(error)
            yield dataclasses.replace(turn, error=str(error), done=True)
        except MemoryError as error:
            failures.append(error)
            yield dataclasses.replace(turn, error="The machine ran out of memory; try fewer contexts.", done=True)
        except Exception as error:
            log.exception("a question failed")
            failures.append(error)
            yield dataclasses.replace(turn, error=f"Something went wrong: {error}", done=True)

    def _answer(self, turn: Turn, history: Sequence[Turn], options: Options, search_for: str) -> Iterator[Turn]:
        if options.retriever not in self.retrievers:
            raise ConfigError(f"the retriever {options.retriever!r} is unknown; choose {', '.join(self.retrievers)}")
        # A sign of life first: what follows may load models.
        is_loading = self.status.startswith("Loading")
        loading = f"{self.status} The first answer takes a little longer." if is_loading else "Searching…"
        yield dataclasses.replace(turn, status=loading)
        writer = self._writer(options.model).in_detail(options.detail)
        retriever, standalone = self._retriever(options), search_for or turn.question
        past = [earlier for earlier in history if was_answered(earlier)]
        if past and not search_for:
            retriever, standalone = self._following(turn.question, past, retriever, writer.generator)
        pipeline = Pipeline(
            retriever,
            self.reranker,
            writer.generator,
            writer.prompt,
            depths=options.depths,
            rerank_threshold=self.threshold_at(options.strictness),
            order=self.order,
            sentence_margin=writer.sentence_margin,
            reading=writer.reading,
            checks_support=self.checks_support,
            latin_alone=self.latin_alone,
            mixing=self.mixing,
        )
        if standalone != turn.question:
            turn = dataclasses.replace(turn, searched_for=standalone)
        response: Response | None = None
        for response in pipeline.stream(Query("chat", standalone)):
            if response.answer and response.answer.text != response.answer.raw.strip():
                continue  # parsed: the turn is done with it, and grows no more
            status = "" if response.answer else ("Reading…" if response.reranked else "Comparing passages…")
            yield dataclasses.replace(turn, response=response, status=status)
        assert response is not None
        # A refusal by score does not need the generator; any other answer shows that every model is loaded by now,
        # whatever kept `preload` from loading it.
        if not options.model and not pipeline.refuses(response):
            self.status, self.ready = "Ready.", True
        yield dataclasses.replace(turn, response=response, done=True)

    def _writer(self, model: str) -> Writer:
        """What writes the answer. Raises ConfigError for a model that is not offered, or why it cannot be used."""
        if not model:
            return Writer(self.generator, self.prompt, self.sentence_margin, self.reading)
        if model not in self.writers:
            known = f"; choose {', '.join(self.writers)}" if self.writers else ""
            raise ConfigError(f"the model {model!r} is not offered here{known}")
        return self.writers[model].get()

    def _retriever(self, options: Options) -> Lazy[Retriever]:
        searched = options.searched
        if (searched is None and not options.attached) or self.narrow is None:
            if searched is not None:
                raise ConfigError("these documents cannot be searched by collection")
            return self.retrievers[options.retriever]
        if searched == () and not options.attached:
            if options.may_read == ():
                raise ConfigError("there are no documents here that you may read; ask whoever keeps the users file")
            raise ConfigError("choose at least one collection to search in")
        return self.narrow(options.retriever, searched, options.attached)

    def _following(
        self, question: str, past: Sequence[Turn], retriever: Lazy[Retriever], generator: Lazy[Generator]
    ) -> tuple[Lazy[Retriever], str]:
        """For a question after answered turns: a retriever that looks at them too, and the question standing alone."""
        standalone = question
        before = [(turn.searched_for or turn.question, outcome(turn)[1].text) for turn in past]
        if refers_back := needs_rewriting(question, before):
            standalone = rewrite_question(question, before, generator.get())
            if standalone == question:
                # Without what the words refer to, the reranker scores every passage low, and the question is refused.
                standalone = f"{before[-1][0][-MAX_CHARACTERS_KEPT:]} {question}"

        def load() -> Retriever:
            searching = retriever.get()
            return FollowUpRetriever(searching, question, what_was_before(past, searching), refers_back=refers_back)

        return Lazy(load), standalone


def _too_long(turn: Turn, search_for: str) -> Turn | None:
    """The turn refused, and shortened, where the question or what to search for is too long; else None."""
    if len(turn.question) > MAX_QUESTION_CHARACTERS:
        what, shortened = "The question", dataclasses.replace(turn, question=turn.question[:200] + "…")
    elif len(search_for) > MAX_QUESTION_CHARACTERS:
        what, shortened = "What to search for", dataclasses.replace(turn, searched_for=search_for[:200] + "…")
    else:
        return None
    sentence = f"{what} is longer than {MAX_QUESTION_CHARACTERS:,} characters; please shorten it."
    return dataclasses.replace(shortened, error=sentence, done=True, refused=True)
