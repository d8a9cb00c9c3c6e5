"""The chat behind page, API and tools: a question and the turns before it become a growing turn."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rag.errors import ConfigError, RagError
from rag.evidence import Threshold
from rag.generate.prompts import Prompt
from rag.generate.rewrite import needs_rewriting, rewrite_question
from rag.lazy import Lazy
from rag.pipeline import Pipeline, Reading
from rag.retrieve.follow_up import FollowUpRetriever
from rag.serve.before import MAX_CHARACTERS_KEPT, what_was_before
from rag.serve.turns import Options, Turn, outcome, was_answered
from rag.types import Generator, Query, Reranker, Response, Retriever

MAX_QUESTION_CHARACTERS = 2000

log = logging.getLogger(__name__)


class Chat:
    """Answers questions with components that everybody shares. It keeps no turns: many people may ask side by side.

    `threshold_at` gives the score below which a question is refused, by the strictness (None: as calibrated).
    `narrow` gives a retriever by its name, the collections to search (None: all) and the key of attached files.
    `reading` is a span reader, where one reads. `checks_support`: answers are compared with what they cite.
    `latin_alone` is as for `Pipeline`.
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
        self.status = "Models load with the first question."
        self.ready = False

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
        search for.
        """
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
        try:
            yield from self._answer(turn, history, options, search_for)
        except RagError as error:
            yield dataclasses.replace(turn, error=str(error), done=True)
        except MemoryError:
            yield dataclasses.replace(turn, error="The machine ran out of memory; try fewer contexts.", done=True)
        except Exception as error:
            log.exception("a question failed")
            yield dataclasses.replace(turn, error=f"Something went wrong: {error}", done=True)

    def _answer(self, turn: Turn, history: Sequence[Turn], options: Options, search_for: str) -> Iterator[Turn]:
        if options.retriever not in self.retrievers:
            raise ConfigError(f"the retriever {options.retriever!r} is unknown; choose {', '.join(self.retrievers)}")
        # A sign of life first: what follows may load models.
        is_loading = self.status.startswith("Loading")
        loading = f"{self.status} The first answer takes a little longer." if is_loading else "Searching…"
        yield dataclasses.replace(turn, status=loading)
        retriever, standalone = self._retriever(options), search_for or turn.question
        past = [earlier for earlier in history if was_answered(earlier)]
        if past and not search_for:
            retriever, standalone = self._following(turn.question, past, retriever)
        pipeline = Pipeline(
            retriever,
            self.reranker,
            self.generator,
            self.prompt,
            depths=options.depths,
            rerank_threshold=self.threshold_at(options.strictness),
            order=self.order,
            sentence_margin=self.sentence_margin,
            reading=self.reading,
            checks_support=self.checks_support,
            latin_alone=self.latin_alone,
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
        if not pipeline.refuses(response):
            self.status, self.ready = "Ready.", True
        yield dataclasses.replace(turn, response=response, done=True)

    def _retriever(self, options: Options) -> Lazy[Retriever]:
        if (options.collections is None and not options.attached) or self.narrow is None:
            return self.retrievers[options.retriever]
        if options.collections == () and not options.attached:
            raise ConfigError("choose at least one collection to search in")
        return self.narrow(options.retriever, options.collections, options.attached)

    def _following(
        self, question: str, past: Sequence[Turn], retriever: Lazy[Retriever]
    ) -> tuple[Lazy[Retriever], str]:
        """For a question after answered turns: a retriever that looks at them too, and the question standing alone."""
        standalone = question
        before = [(turn.searched_for or turn.question, outcome(turn)[1].text) for turn in past]
        if refers_back := needs_rewriting(question, before):
            standalone = rewrite_question(question, before, self.generator.get())
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
