"""The conversation behind the chat page: questions to growing turns, and turns to escaped HTML."""

from __future__ import annotations

import dataclasses
import html
import logging
import string
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rag.documents.collection import HASH_CHARACTERS
from rag.errors import ConfigError, RagError
from rag.generate.prompts import Prompt
from rag.generate.rewrite import rewrite_question
from rag.pipeline import Depths, Lazy, Pipeline
from rag.present import NOT_IN_DOCUMENTS, citation_of, place_of, source_link
from rag.types import Generator, Hit, Query, Reranker, Response, Retriever

MAX_QUESTION_CHARACTERS = 2000
MAX_DOCUMENTS_LISTED = 500
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may change: `collections` None searches in all; `attached` names files of one conversation, which
    are searched too."""

    retriever: str = "hybrid"
    depths: Depths = field(default_factory=Depths)
    strictness: float | None = None
    collections: tuple[str, ...] | None = None
    attached: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what came of it so far. `searched_for` is the rewritten question where it differs; `refused`
    says that the question itself was at fault; `attached` names the conversation's own files that were searched;
    `narrowed` says that not all documents were."""

    question: str
    searched_for: str = ""
    response: Response | None = None
    status: str = ""
    error: str = ""
    done: bool = False
    stopped: bool = False
    refused: bool = False
    attached: str = ""
    narrowed: bool = False


class Conversation:
    """Answers questions with shared components; several conversations may run side by side.

    `threshold_at` maps a strictness (None: as calibrated) to the rerank score below which a question is refused;
    `narrow` gives a retriever, by its name, over some collections (None: all) and the files attached under a name.
    """

    def __init__(
        self,
        retrievers: dict[str, Lazy[Retriever]],
        reranker: Lazy[Reranker],
        generator: Lazy[Generator],
        prompt: Prompt,
        threshold_at: Callable[[float | None], float | None],
        order: str = "best-first",
        sentence_margin: float | None = None,
        narrow: Callable[[str, Sequence[str] | None, str], Lazy[Retriever]] | None = None,
    ):
        self.retrievers, self.reranker, self.generator = retrievers, reranker, generator
        self.prompt, self.threshold_at, self.order = prompt, threshold_at, order
        self.sentence_margin, self.narrow = sentence_margin, narrow
        self.status = "Models load with the first question."
        self.ready = False

    def preload(self, retriever: str) -> threading.Thread:
        """Load the models in the background; `status` says how far it is."""

        def work() -> None:
            steps = (
                ("Loading the retriever…", self.retrievers[retriever]),
                ("Loading the reranker…", self.reranker),
                ("Loading the generator…", self.generator),
            )
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
        """Growing snapshots of one turn; the last has `done`. Failures become a sentence in the turn.

        A follow-up is rewritten to stand alone, unless someone said what to `search_for`.
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
        for name, text in (("question", question), ("searched_for", search_for)):
            if len(text) > MAX_QUESTION_CHARACTERS:
                what = "The question" if name == "question" else "What to search for"
                sentence = f"{what} is longer than {MAX_QUESTION_CHARACTERS:,} characters; please shorten it."
                shortened = {name: text[:200] + "…"}
                yield dataclasses.replace(turn, **shortened, error=sentence, done=True, refused=True)
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
        is_loading = self.status.startswith("Loading")
        loading = f"{self.status} The first answer takes a little longer." if is_loading else "Searching…"
        yield dataclasses.replace(turn, status=loading)
        pipeline = Pipeline(
            self._retriever(options),
            self.reranker,
            self.generator,
            self.prompt,
            depths=options.depths,
            rerank_threshold=self.threshold_at(options.strictness),
            order=self.order,
            sentence_margin=self.sentence_margin,
        )
        standalone = search_for or self._standalone(turn.question, history)
        if standalone != turn.question:
            turn = dataclasses.replace(turn, searched_for=standalone)
        response = None
        for response in pipeline.stream(Query("chat", standalone)):
            status = "" if response.answer else ("Reading…" if response.reranked else "Comparing passages…")
            yield dataclasses.replace(turn, response=response, status=status)
        if not pipeline.refuses(response.reranked):
            self.status, self.ready = "Ready.", True  # whatever kept the models from loading before, they are here
        yield dataclasses.replace(turn, response=response, done=True)

    def _retriever(self, options: Options) -> Lazy[Retriever]:
        if (options.collections is None and not options.attached) or self.narrow is None:
            return self.retrievers[options.retriever]
        if options.collections == () and not options.attached:
            raise ConfigError("choose at least one collection to search in")
        return self.narrow(options.retriever, options.collections, options.attached)

    def _standalone(self, question: str, history: Sequence[Turn]) -> str:
        past = [(t.searched_for or t.question, t.response.answer.text) for t in history if _was_answered(t)]
        return rewrite_question(question, past, self.generator.get()) if past else question


def settle(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with a last one that was stopped in the middle marked as such."""
    if not turns or turns[-1].done:
        return list(turns)
    return [*turns[:-1], dataclasses.replace(turns[-1], status="", done=True, stopped=True)]


def _was_answered(turn: Turn) -> bool:
    return turn.done and not turn.stopped and turn.response is not None and turn.response.answer is not None


def escape(text: str) -> str:
    """Text that neither HTML nor Markdown gives a meaning to: every ASCII punctuation mark as a character reference."""
    return "".join(f"&#{ord(ch)};" if ch in string.punctuation else ch for ch in text)


def message_html(turn: Turn, number: int) -> str:
    """The assistant's side of a turn, for the chat bubble."""
    parts = []
    if turn.searched_for:
        parts.append(f'<div class="searched">searched for “{escape(turn.searched_for)}”</div>')
    if turn.error:
        parts.append(f'<div class="problem">{escape(turn.error)}</div>')
    elif turn.status:
        parts.append(f'<div class="status">{escape(turn.status)}</div>')
    elif turn.response and turn.response.answer:
        answer = turn.response.answer
        if answer.abstained and turn.done and not turn.stopped:
            parts.append(f'<div class="refusal">{NOT_IN_DOCUMENTS} The closest passages are beside this answer.</div>')
        else:
            text = "<br>".join(escape(line) for line in answer.text.splitlines())
            parts.append(f'<div class="answer">{text}{_citation_links(turn, number) if turn.done else " ▍"}</div>')
    if turn.stopped:
        parts.append('<div class="status">Stopped.</div>')
    return "".join(parts)


def _citation_links(turn: Turn, number: int) -> str:
    position = {hit.passage.id: n for n, hit in enumerate(turn.response.contexts, 1)}
    return "".join(
        f' <a class="cite" href="#source-{number}-{position[pid]}">[{position[pid]}]</a>'
        for pid in turn.response.answer.citations
    )


def sources_html(turns: Sequence[Turn]) -> str:
    """Source cards of every turn, the latest open and first."""
    sections = []
    for number in range(len(turns), 0, -1):
        turn = turns[number - 1]
        hits = _shown_hits(turn)
        if not hits:
            continue
        cited = set(turn.response.answer.citations) if turn.response.answer and turn.done else set()
        cards = "".join(_card(hit, number, n, hit.passage.id in cited, turn.attached) for n, hit in enumerate(hits, 1))
        label = html.escape(turn.searched_for or turn.question)
        is_open = " open" if number == len(turns) else ""
        sections.append(f'<details class="turn"{is_open}><summary>{label}</summary>{cards}</details>')
    return "".join(sections) or '<p class="status">The passages behind an answer appear here.</p>'


def documents_html(collections: Mapping[str, Sequence[Mapping]], attached: str = "") -> str:
    """What is indexed: every collection with its documents, which open where they have a passage.

    `attached` names the conversation whose own files are among them.
    """
    sections = []
    for name, rows in collections.items():
        items = [
            f'<li>{_opening(row, attached)} <span class="status">{html.escape(row["kind"])}, '
            f"{row['n_passages']:,} passage{'s' * (row['n_passages'] != 1)}</span></li>"
            for row in rows[:MAX_DOCUMENTS_LISTED]
        ]
        if len(rows) > MAX_DOCUMENTS_LISTED:
            items.append(f"<li>and {len(rows) - MAX_DOCUMENTS_LISTED:,} more</li>")
        summary = f"{html.escape(name)} ({len(rows):,})"
        sections.append(f"<details><summary>{summary}</summary><ul>{''.join(items)}</ul></details>")
    return f'<div class="listing">{"".join(sections)}</div>' if sections else ""


def _opening(document: Mapping, attached: str) -> str:
    name = html.escape(document["path"])
    if not document["n_passages"]:
        return name
    link = html.escape(source_link(document["sha256"][:HASH_CHARACTERS] + "@0", attached))
    return f'<a href="{link}" target="_blank" rel="noopener">{name}</a>'


def _shown_hits(turn: Turn) -> Sequence[Hit]:
    """The contexts; for a question refused before any, the passages that came closest."""
    if turn.response is None:
        return ()
    return turn.response.contexts or turn.response.reranked[:3]


def _card(hit: Hit, number: int, n: int, cited: bool, attached: str) -> str:
    title = html.escape(hit.passage.title or hit.passage.id)
    link = html.escape(source_link(hit.passage.id, attached))
    badge = '<span class="badge">cited</span>' if cited else ""
    return (
        f'<article class="card{" cited" if cited else ""}" id="source-{number}-{n}" tabindex="-1">'
        f'<header><b>[{n}]</b> {title} {badge}<span class="score">score {hit.score:.2f}</span></header>'
        f"<pre>{html.escape(hit.passage.text)}</pre><footer>{html.escape(place_of(hit.passage))}"
        f'<span class="tools"><a href="{link}" target="_blank" rel="noopener">'
        f'Open<span class="unseen"> [{n}] in its document</span></a>'
        f'<button type="button" class="copy" data-citation="{html.escape(citation_of(hit.passage))}">'
        "Copy citation</button></span></footer></article>"
    )
