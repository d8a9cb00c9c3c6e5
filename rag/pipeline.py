"""The steps from a question to a cited answer: retrieve, rerank, choose sentences, prompt, generate, parse, check.

A span reader may read the best passages after reranking. What it finds is evidence for refusing, or the answer itself.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass

from rag.errors import GenerationError
from rag.evidence import Threshold, is_below
from rag.generate.answer import parse_answer, verify_citations
from rag.generate.excerpts import select_sentences
from rag.generate.instructions import blanked, find_instructions
from rag.generate.prompts import Prompt
from rag.generate.support import find_support
from rag.generate.window import compose
from rag.lazy import Lazy
from rag.progress import check_waiting
from rag.read.span_answer import span_answer
from rag.scripts import is_mostly_latin
from rag.types import (
    CANNOTANSWER,
    Answer,
    Compares,
    FusedRetriever,
    Generator,
    Hit,
    Message,
    Messages,
    Passage,
    Query,
    Reader,
    Reranker,
    Response,
    Retriever,
    ranked,
)


@dataclass(frozen=True, slots=True)
class Depths:
    """How many passages each step passes on to the next."""

    retrieve: int = 50
    rerank: int = 50
    contexts: int = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """A span reader, and how many of the best passages it reads.

    A span of a context whose margin is at least `answer_margin` is the answer, without the generator; None: never.
    """

    reader: Lazy[Reader]
    depth: int = 3
    answer_margin: float | None = None


@dataclass(frozen=True, slots=True)
class Mixing:
    """Cosines of question and passage that count beside the reranker: each is worth `weight` logits."""

    load: Callable[[], Compares]
    weight: float


class Pipeline:
    """Retriever, reranker, prompt and generator joined. One question is a batch of one.

    `rerank_threshold`: a question whose best rerank logit, or whose evidence (`rag.evidence`), is below it is refused,
    without asking the generator; None refuses none. `order` is the order of the contexts in the prompt
    (`rag.generate.window.arrange`). `sentence_margin`: the generator is shown those sentences of the contexts whose
    rerank logit is at most this far below the best one's (`rag.generate.excerpts`); None shows all. `reading` is a span
    reader, where one reads. `checks_support`: answers are compared with what they cite (`rag.generate.support`).
    `latin_alone`: a question in other letters is kept from reranker and reader, which would be lost in it: its passages
    stay in the retriever's order, and it is refused only where there are none.
    `mixing`: passages are ordered by their logit and a share of their cosine. Refusals go by the logit alone.
    Components are `Lazy`, so that a batch can load each one for its own stage alone.
    """

    def __init__(
        self,
        retriever: Lazy[Retriever],
        reranker: Lazy[Reranker],
        generator: Lazy[Generator],
        prompt: Prompt,
        *,
        depths: Depths = Depths(),
        rerank_threshold: Threshold | None = None,
        order: str = "best-first",
        sentence_margin: float | None = None,
        reading: Reading | None = None,
        checks_support: bool = False,
        latin_alone: bool = False,
        mixing: Mixing | None = None,
    ):
        self.retriever = retriever
        self.reranker = reranker
        self.generator = generator
        self.prompt = prompt
        self.depths = depths
        self.rerank_threshold = rerank_threshold
        self.order = order
        self.sentence_margin = sentence_margin
        self.reading = reading
        self.checks_support = checks_support
        self.latin_alone = latin_alone
        self.mixing = mixing

    def run(self, queries: Sequence[Query]) -> list[Response]:
        """Responses with answers, in the order of the queries. Timings are shares of the batch, in seconds."""
        responses = self.retrieve(queries)
        responses = self.rerank(responses)
        responses = self.read(responses)
        responses = self.excerpt(responses)
        responses = self.generate(responses)  # writes each prompt, then asks the generator once
        return self.check(self.parse(responses))

    def stream(self, query: Query) -> Iterator[Response]:
        """Growing snapshots of one response: after retrieval, after reranking, then with every piece of the answer.

        Raises GenerationError where the generator's window holds no beginning of a context beside the question.
        """
        (response,) = self.retrieve([query])
        yield response
        (response,) = self.read(self.rerank([response]))
        if self._needs_no_generator(response):
            yield from self.check(self.generate([response]))
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
        started = time.perf_counter()
        raw = ""
        for delta in generator.stream(conversation):
            raw += delta
            yield dataclasses.replace(response, answer=Answer(raw.strip(), (), raw))
        answered = _answered(response, raw, generator, time.perf_counter() - started)
        yield from self.check([dataclasses.replace(answered, answer=self._parse(raw, response.contexts))])

    def retrieve(self, queries: Sequence[Query]) -> list[Response]:
        """The best `depths.retrieve` passages of each query; with a fusion, also what each of its parts found."""
        retriever = self.retriever.get()
        started = time.perf_counter()
        texts = [query.text for query in queries]
        parts: Mapping[str, Sequence[Sequence[Hit]]] = {}
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
        """The best `depths.rerank` candidates of each response in the reranker's order; those below drop out."""
        reranker = self.reranker.get()
        started = time.perf_counter()
        queries = [response.query.text for response in responses]
        candidates = [response.retrieved[: self.depths.rerank] for response in responses]
        # One call for all questions, also where some are kept from it.
        asked = [hits if self._is_scored(r) else () for r, hits in zip(responses, candidates, strict=True)]
        scored = self._mixed(queries, reranker.rerank(queries, asked))
        order = [hits or kept for hits, kept in zip(scored, candidates, strict=True)]
        share = _share(started, responses)
        return [
            dataclasses.replace(response, reranked=tuple(hits), timings={**response.timings, "rerank": share})
            for response, hits in zip(responses, order, strict=True)
        ]

    def _mixed(self, queries: Sequence[str], scored: Sequence[Sequence[Hit]]) -> Sequence[Sequence[Hit]]:
        """Hits by their logits, ordered by logit and cosine where that is wanted."""
        if self.mixing is None:
            return scored
        weight, cosines = self.mixing.weight, self.mixing.load().cosines(queries, scored)
        return [
            ranked([Hit(hit.passage, hit.score + weight * one, hit.score) for hit, one in zip(hits, own, strict=True)])
            for hits, own in zip(scored, cosines, strict=True)
        ]

    def read(self, responses: Sequence[Response]) -> list[Response]:
        """The responses with what the reader finds in the best passages; as they are where none reads."""
        if self.reading is None:
            return list(responses)
        check_waiting()
        reader = self.reading.reader.get()
        started = time.perf_counter()
        queries = [response.query.text for response in responses]
        passages = [
            [self._readable(hit.passage) for hit in response.reranked[: self.reading.depth]]
            if self._is_scored(response)
            else []
            for response in responses
        ]
        found = reader.read(queries, passages)
        share = _share(started, responses)
        return [
            dataclasses.replace(
                response,
                spans={passage.id: span for passage, span in zip(read, spans, strict=True)},
                timings={**response.timings, "read": share},
            )
            for response, read, spans in zip(responses, passages, found, strict=True)
        ]

    def excerpt(self, responses: Sequence[Response]) -> list[Response]:
        """The responses with the sentences of their contexts that the generator is to be shown, if it is asked."""
        if self.sentence_margin is None:
            return list(responses)
        results = [
            dataclasses.replace(response, timings={**response.timings, "excerpt": 0.0}) for response in responses
        ]
        asked = [i for i, response in enumerate(results) if not self._needs_no_generator(response)]
        for i, chosen in zip(asked, self.choose_sentences([results[i] for i in asked]), strict=True):
            results[i] = chosen
        return results

    def choose_sentences(self, responses: Sequence[Response]) -> list[Response]:
        """The same for every response, whether the generator would be asked or not."""
        results = list(responses)
        scored = [i for i, response in enumerate(responses) if self._is_scored(response)]
        if self.sentence_margin is None or not scored:
            return results
        check_waiting()
        reranker = self.reranker.get()
        started = time.perf_counter()
        queries = [results[i].query.text for i in scored]
        contexts = [results[i].reranked[: self.depths.contexts] for i in scored]
        found = select_sentences(reranker, queries, contexts, self.sentence_margin)
        share = _share(started, scored)
        for i, excerpts in zip(scored, found, strict=True):
            timings = {**results[i].timings, "excerpt": share}
            results[i] = dataclasses.replace(results[i], excerpts=excerpts, timings=timings)
        return results

    def generate(self, responses: Sequence[Response]) -> list[Response]:
        """Raw answers to reranked queries, in one call to the generator.

        Questions that are refused by score, that a span answers, or for which the window holds no context, never reach
        the generator.
        """
        results = list(responses)
        conversations: dict[int, Messages] = {}
        for i, response in enumerate(responses):
            if (answered := self._span_answer(response)) is not None:
                results[i] = answered
                continue
            conversation = None
            if not self.refuses(response):
                # Loaded with the first question that needs it: where all are refused, never.
                conversation, results[i] = self.compose(response, self.generator.get())
            if conversation is not None:
                conversations[i] = conversation
            else:
                timings = {**response.timings, "generate": 0.0}
                results[i] = dataclasses.replace(results[i], answer=Answer(CANNOTANSWER), timings=timings)
        if not conversations:
            return results
        generator = self.generator.get()
        started = time.perf_counter()
        outputs = generator.generate(list(conversations.values()))
        share = _share(started, conversations)
        for i, raw in zip(conversations, outputs, strict=True):
            results[i] = _answered(results[i], raw, generator, share)
        return results

    def compose(self, response: Response, generator: Generator) -> tuple[Messages | None, Response]:
        """The conversation to send, and the response with the contexts in it; None where the window holds none."""
        return compose(response, generator, self.prompt, n_contexts=self.depths.contexts, order=self.order)

    def parse(self, responses: Sequence[Response]) -> list[Response]:
        """Raw answers become clean ones with citations."""
        return [self._parsed(response) for response in responses]

    def check(self, responses: Sequence[Response]) -> list[Response]:
        """The responses with how far their answers are supported, where that is checked; refusals as they are."""
        results = list(responses)
        answered = [i for i, r in enumerate(results) if r.answer is not None and not r.answer.abstained]
        given = [i for i in answered if self._is_scored(results[i])]
        if not self.checks_support or not given:
            return results
        check_waiting()
        reranker = self.reranker.get()
        started = time.perf_counter()
        found = find_support(reranker, [results[i] for i in given])
        share = _share(started, given)
        for i, support in zip(given, found, strict=True):
            timings = {**results[i].timings, "check": share}
            results[i] = dataclasses.replace(results[i], support=support, timings=timings)
        return results

    def _parsed(self, response: Response) -> Response:
        if self.refuses(response):
            # Stored answers may come from a run with another threshold: a refusal by score undoes what was generated.
            return dataclasses.replace(
                response,
                contexts=(),
                excerpts={},
                dropped_contexts=0,
                answer=Answer(CANNOTANSWER),
                tokens={},
                timings={**response.timings, "generate": 0.0},
            )
        if (answered := self._span_answer(response)) is not None:
            return answered
        if response.answer is None or not response.contexts:
            return response  # nothing was asked: no context fitted the window, and the answer is a refusal already
        return dataclasses.replace(response, answer=self._parse(response.answer.raw, response.contexts))

    def _parse(self, raw: str, contexts: Sequence[Hit]) -> Answer:
        # The numbers in an answer are those of the prompt, so its order decides; which passage holds the answer's
        # words is asked best first.
        in_prompt_order = [hit.passage for hit in contexts]
        answer = parse_answer(raw, in_prompt_order, self.prompt.parser)
        if self.prompt.parser != "layered":
            return answer
        return verify_citations(answer, [hit.passage for hit in ranked(contexts)])

    def refuses(self, response: Response) -> bool:
        """Whether the passages found say too little for the question to be worth asking the generator."""
        if not response.reranked:
            return True
        if self.rerank_threshold is None or not self._is_scored(response):
            return False
        return is_below(self.rerank_threshold, response)

    def _is_scored(self, response: Response) -> bool:
        """Whether reranker and reader know the letters of the question."""
        return not self.latin_alone or is_mostly_latin(response.query.text)

    def _needs_no_generator(self, response: Response) -> bool:
        """Whether a response is refused, or answered by a span, before anything is generated."""
        return self.refuses(response) or self._span_answer(response) is not None

    def _readable(self, passage: Passage) -> Passage:
        """The passage as the reader is shown it: every character in its place, but for those that give orders."""
        return dataclasses.replace(passage, text=blanked(passage.text)) if self.prompt.withhold else passage

    def _span_answer(self, response: Response) -> Response | None:
        """The response answered by a span of its contexts; None where none is sure enough, or it is refused."""
        if self.reading is None or self.reading.answer_margin is None or self.refuses(response):
            return None
        contexts = response.reranked[: self.depths.contexts]
        answer = span_answer(contexts, response.spans, self.reading.answer_margin)
        if answer is None or (self.prompt.withhold and find_instructions(answer.text)):
            return None
        timings = {**response.timings, "generate": 0.0}
        return dataclasses.replace(response, contexts=contexts, excerpts={}, answer=answer, timings=timings, tokens={})


def _answered(response: Response, raw: str, generator: Generator, seconds: float) -> Response:
    """The response with a raw answer, its tokens, and the seconds that it took."""
    return dataclasses.replace(
        response,
        answer=Answer(raw, (), raw),
        timings={**response.timings, "generate": seconds},
        tokens={**response.tokens, "answer": count_text_tokens(generator, raw)},
    )


def count_text_tokens(generator: Generator, text: str) -> int:
    """Tokens of a text by itself: what it adds to an empty message."""
    with_text = generator.count_tokens([Message(role="user", content=text)])
    return with_text - generator.count_tokens([Message(role="user", content="")])


def _share(started: float, items: Sized) -> float:
    """The seconds since `started`, divided evenly among the items of a batch."""
    return (time.perf_counter() - started) / max(len(items), 1)
