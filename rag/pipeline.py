"""The steps from a question to a cited answer: retrieve, rerank, choose contexts and their sentences, prompt, generate,
parse."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rag.errors import GenerationError
from rag.generate.answer import parse_answer, verify_citations
from rag.generate.excerpts import excerpted, longest_beginning, select_sentences
from rag.generate.prompts import Prompt, conversation_sha256
from rag.lazy import Lazy
from rag.types import (
    CANNOTANSWER,
    Answer,
    Conversation,
    FusedRetriever,
    Generator,
    Hit,
    Message,
    Query,
    Reranker,
    Response,
    Retriever,
    Span,
    ranked,
)


@dataclass(frozen=True, slots=True)
class Depths:
    """How many passages pass from step to step."""

    retrieve: int = 50
    rerank: int = 50
    contexts: int = 3


class Pipeline:
    """Retriever, reranker, prompt and generator joined. One question is a batch of one.

    `rerank_threshold` refuses a question whose best rerank logit is below it, without asking the generator; None
    never does. `order` is that of the contexts in the prompt (`arrange`). Of the contexts the generator sees the
    sentences whose rerank logit is at most `sentence_margin` below the best one's (`rag.generate.excerpts`), all with
    None. Components are `Lazy`, so that a batch can load each for its stage alone.
    """

    def __init__(
        self,
        retriever: Lazy[Retriever],
        reranker: Lazy[Reranker],
        generator: Lazy[Generator],
        prompt: Prompt,
        *,
        depths: Depths = Depths(),
        rerank_threshold: float | None = None,
        order: str = "best-first",
        sentence_margin: float | None = None,
    ):
        self.retriever, self.reranker, self.generator = retriever, reranker, generator
        self.prompt, self.depths, self.rerank_threshold, self.order = prompt, depths, rerank_threshold, order
        self.sentence_margin = sentence_margin

    def run(self, queries: Sequence[Query]) -> list[Response]:
        """Answer every query; responses come in the order of the queries. Timings are shares of the batch."""
        return self.parse(self.generate(self.excerpt(self.rerank(self.retrieve(queries)))))

    def retrieve(self, queries: Sequence[Query]) -> list[Response]:
        retriever, started = self.retriever.get(), time.perf_counter()
        texts, parts = [query.text for query in queries], {}
        if isinstance(retriever, FusedRetriever):
            found, parts = retriever.retrieve_with_parts(texts, self.depths.retrieve)
        else:
            found = retriever.retrieve(texts, self.depths.retrieve)
        share = _share(started, queries)
        return [
            Response(
                query,
                retrieved=tuple(found[row]),
                parts={name: tuple(lists[row]) for name, lists in parts.items()},
                timings={"retrieve": share},
            )
            for row, query in enumerate(queries)
        ]

    def rerank(self, responses: Sequence[Response]) -> list[Response]:
        """Rerank the best `depths.rerank` candidates; those below drop out."""
        reranker, started = self.reranker.get(), time.perf_counter()
        depth = self.depths.rerank
        order = reranker.rerank([r.query.text for r in responses], [r.retrieved[:depth] for r in responses])
        share = _share(started, responses)
        return [
            dataclasses.replace(r, reranked=tuple(hits), timings={**r.timings, "rerank": share})
            for r, hits in zip(responses, order, strict=True)
        ]

    def excerpt(self, responses: Sequence[Response]) -> list[Response]:
        """Choose the sentences of the contexts that the generator is to see."""
        if self.sentence_margin is None:
            return list(responses)
        reranker, started = self.reranker.get(), time.perf_counter()
        contexts = [response.reranked[: self.depths.contexts] for response in responses]
        found = select_sentences(reranker, [r.query.text for r in responses], contexts, self.sentence_margin)
        share = _share(started, responses)
        return [
            dataclasses.replace(r, excerpts=excerpts, timings={**r.timings, "excerpt": share})
            for r, excerpts in zip(responses, found, strict=True)
        ]

    def generate(self, responses: Sequence[Response]) -> list[Response]:
        """Raw answers to reranked queries, in one call to the generator; those refused by score, or that its window
        cannot hold, never reach it."""
        generator = None
        asked: list[tuple[int, Conversation]] = []
        results = list(responses)
        for i, response in enumerate(responses):
            conversation = None
            if not self.refuses(response.reranked):
                generator = generator or self.generator.get()
                conversation, results[i] = self.compose(response, generator)
            if conversation is not None:
                asked.append((i, conversation))
                continue
            timings = {**response.timings, "generate": 0.0}
            results[i] = dataclasses.replace(results[i], answer=Answer(CANNOTANSWER), timings=timings)
        started = time.perf_counter()
        outputs = generator.generate([conversation for _, conversation in asked]) if asked else []
        share = _share(started, asked)
        for (i, _), raw in zip(asked, outputs, strict=True):
            timings = {**results[i].timings, "generate": share}
            tokens = {**results[i].tokens, "answer": count_text_tokens(generator, raw)}
            results[i] = dataclasses.replace(results[i], answer=Answer(raw, (), raw), timings=timings, tokens=tokens)
        return results

    def parse(self, responses: Sequence[Response]) -> list[Response]:
        """Raw answers become clean ones with citations; one refused by score is a refusal, whatever was generated.

        Where no context fitted the window, the answer is the refusal that it was.
        """
        return [
            dataclasses.replace(
                r,
                contexts=(),
                excerpts={},
                dropped_contexts=0,
                answer=Answer(CANNOTANSWER),
                tokens={},
                timings={**r.timings, "generate": 0.0},
            )
            if self.refuses(r.reranked)
            else dataclasses.replace(r, answer=self._parse(r.answer.raw, r.contexts) if r.contexts else r.answer)
            for r in responses
        ]

    def stream(self, query: Query) -> Iterator[Response]:
        """Growing snapshots of one response: after retrieval, after reranking, then with every piece of the answer.

        Raises GenerationError where the generator's window holds no beginning of a context beside the question.
        """
        (response,) = self.retrieve([query])
        yield response
        (response,) = self.rerank([response])
        if self.refuses(response.reranked):
            yield from self.generate([response])
            return
        (response,) = self.excerpt([response])
        generator = self.generator.get()
        conversation, response = self.compose(response, generator)
        if conversation is None:
            raise GenerationError(
                f"prompt and question leave no room for a passage in the {generator.context_window_tokens:,} tokens of "
                "the model; ask a shorter question, or raise generator.context_window_tokens"
            )
        yield response
        started, raw = time.perf_counter(), ""
        for delta in generator.stream(conversation):
            raw += delta
            yield dataclasses.replace(response, answer=Answer(raw.strip(), (), raw))
        timings = {**response.timings, "generate": time.perf_counter() - started}
        tokens = {**response.tokens, "answer": count_text_tokens(generator, raw)}
        yield dataclasses.replace(response, answer=self._parse(raw, response.contexts), timings=timings, tokens=tokens)

    def refuses(self, reranked: Sequence[Hit]) -> bool:
        """Whether the passages are too far from the question to be worth asking the generator."""
        if not reranked:
            return True
        return self.rerank_threshold is not None and reranked[0].score < self.rerank_threshold

    def compose(self, response: Response, generator: Generator) -> tuple[Conversation | None, Response]:
        """The conversation to send, and the response with the contexts in it; None where the window holds none.

        A passage none of whose sentences was chosen is none of them. Where not all fits the window, demonstrations are
        left out first, then contexts that do not fit beside better ones, which are counted. Where not even the best
        fits alone, its beginning is shown.
        """
        wanted = response.reranked[: self.depths.contexts]
        if response.excerpts:
            wanted = [hit for hit in wanted if hit.passage.id in response.excerpts]
        budget = generator.context_window_tokens - getattr(generator, "max_new_tokens", 0)

        def fitting(
            contexts: Sequence[Hit], excerpts: Mapping[str, tuple[Span, ...]], *, demonstrate: bool = False
        ) -> tuple[Conversation, Response] | None:
            shown = arrange(contexts, self.order)
            passages = excerpted(shown, excerpts)
            conversation = self.prompt.conversation(response.query.text, passages, demonstrate=demonstrate)
            n_tokens = generator.count_tokens(conversation)
            if n_tokens > budget:
                return None
            return conversation, dataclasses.replace(
                response,
                contexts=tuple(shown),
                excerpts=excerpts,
                dropped_contexts=len(wanted) - len(contexts),
                prompt_sha256=conversation_sha256(conversation),
                tokens={"prompt": n_tokens},
            )

        excerpts, nothing = response.excerpts, (None, dataclasses.replace(response, dropped_contexts=len(wanted)))
        if found := fitting(wanted, excerpts, demonstrate=True) or fitting(wanted, excerpts):
            return found
        if wanted and not fitting(wanted[:1], excerpts):
            best = wanted[0].passage
            shown = excerpts or {hit.passage.id: ((0, len(hit.passage.text)),) for hit in wanted}
            beginning = longest_beginning(
                best.text, shown[best.id], lambda spans: fitting(wanted[:1], {best.id: spans}) is not None
            )
            if beginning:
                return fitting(wanted[:1], {**shown, best.id: beginning}) or nothing
        contexts, found = [], nothing
        for hit in wanted:
            if larger := fitting([*contexts, hit], excerpts):
                contexts, found = [*contexts, hit], larger
        return found

    def _parse(self, raw: str, contexts: Sequence[Hit]) -> Answer:
        passages = [hit.passage for hit in contexts]
        answer = parse_answer(raw, passages, self.prompt.parser)
        best_first = [hit.passage for hit in ranked(contexts)]
        return verify_citations(answer, best_first) if self.prompt.parser == "layered" else answer


def arrange(contexts: Sequence[Hit], order: str) -> list[Hit]:
    """Contexts, given best first, in the order of the prompt.

    `best-at-both-ends` puts the first, third, … at the beginning and the second, fourth, … backwards at the end: models
    read the middle of a long prompt least (https://arxiv.org/abs/2307.03172).
    """
    if order == "best-last":
        return list(reversed(contexts))
    if order == "best-at-both-ends":
        return [*contexts[::2], *reversed(contexts[1::2])]
    return list(contexts)


def _share(started: float, items: Sequence[object]) -> float:
    return (time.perf_counter() - started) / max(len(items), 1)


def count_text_tokens(generator: Generator, text: str) -> int:
    """Tokens of a text by itself: what it adds to an empty message."""
    return generator.count_tokens([Message(role="user", content=text)]) - generator.count_tokens(
        [Message(role="user", content="")]
    )
