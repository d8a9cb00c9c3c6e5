"""The values that pass between stages, and the Protocols of the parts that can be swapped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict, runtime_checkable

import numpy as np

CANNOTANSWER = "CANNOTANSWER"
GAP = "…"
Span = tuple[int, int]
AGREEMENT_LOGITS = 10.0
"""What full agreement with a reader is worth beside a rerank logit; chosen on dev questions."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a passage stands: characters `start` to `end` of its document's text; `page` from 1, if it has pages."""

    start: int
    end: int
    page: int | None = None


def document_of(passage_id: str) -> str:
    """The document of a passage: the part of its id before the first `@`."""
    return passage_id.split("@", 1)[0]


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document. `id` begins with the document's name and `@`; `source` is the file or data set."""

    id: str
    text: str
    title: str = ""
    source: str = ""
    place: Place | None = None

    @property
    def content(self) -> str:
        """What is embedded, matched and shown to the models: the title, then the text."""
        return "\n".join(part for part in (self.title, self.text) if part)

    @property
    def document(self) -> str:
        """The name of the document that the passage is a piece of."""
        return document_of(self.id)

    def excerpt(self, spans: Sequence[Span]) -> Passage:
        """The passage cut down to these spans of its text, in order; an ellipsis stands for what is left out."""
        pieces: list[Span] = []
        for start, end in spans:
            # Spans with nothing but whitespace between them are one piece.
            if pieces and not self.text[pieces[-1][1] : start].strip():
                start, _ = pieces.pop()
            pieces.append((start, end))
        text = f" {GAP} ".join(self.text[start:end].strip() for start, end in pieces)
        before = self.text[: pieces[0][0]] if pieces else self.text
        after = self.text[pieces[-1][1] :] if pieces else ""
        if before.strip():
            text = f"{GAP} {text}"
        if after.strip():
            text = f"{text} {GAP}"
        return dataclasses.replace(self, text=text)


@dataclass(frozen=True, slots=True)
class Query:
    """A standalone question, already rewritten where it followed up on others."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage with its score; higher is better, the scale belongs to the stage.

    `logit` is the reranker's own, where the score is mixed with something else.
    """

    passage: Passage
    score: float
    logit: float | None = None

    @property
    def evidence(self) -> float:
        """What says how well the passage answers: the reranker's own logit where there is one, else the score."""
        return self.score if self.logit is None else self.logit


@dataclass(frozen=True, slots=True)
class ReadSpan:
    """The best answer that a reader sees in one passage.

    `start` and `end` are characters of the passage's text; they are equal where the answer stands in its title alone.
    `score` is the span's logit, `null` the logit of "no answer here".
    """

    start: int
    end: int
    score: float
    null: float

    @property
    def margin(self) -> float:
        """How far the answer lies above "no answer here", in logits."""
        return self.score - self.null

    @property
    def is_seen(self) -> bool:
        """Whether the passage's text holds the answer, as the reader sees it."""
        return self.start < self.end and self.margin > 0

    def text_in(self, passage: Passage) -> str:
        """The words of the span; "" where it has none."""
        return passage.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed answer: clean text, the passages it cites, and the raw output it came from.

    `marks` are the places of citations, in order: (offset in the text, the ids cited there). A citation without a mark
    belongs to the whole text: it was found by the answer's words, or an older version stored it.
    """

    text: str
    citations: tuple[str, ...] = ()
    raw: str = ""
    marks: tuple[tuple[int, tuple[str, ...]], ...] = ()

    @property
    def abstained(self) -> bool:
        return self.text == CANNOTANSWER

    def pieces(self) -> list[tuple[str, tuple[str, ...]]]:
        """The text in pieces, each with the ids cited behind it; those without a place are cited behind the last."""
        pieces: list[tuple[str, tuple[str, ...]]] = []
        start = 0
        for offset, cited in self.marks:
            pieces.append((self.text[start:offset], cited))
            start = offset
        placed = {pid for _, cited in self.marks for pid in cited}
        return [*pieces, (self.text[start:], tuple(pid for pid in self.citations if pid not in placed))]


@dataclass(frozen=True, slots=True)
class Support:
    """How far an answer is supported by what it cites, checked once it is written (`rag.generate.support`).

    `word_for_word` are the cited passages in which the answer's words stand without gaps. `logit` is the reranker's,
    for the question with the answer behind it and the nearest cited sentence. `agreement`, from 0 to 1, is how far the
    answer says what a reader reads in the cited passages; None where none read them.
    """

    word_for_word: tuple[str, ...]
    logit: float
    agreement: float | None = None

    @property
    def score(self) -> float:
        """Both in one, in logits; higher is better. Comparable among answers that a reader checked, or none did."""
        return self.logit + AGREEMENT_LOGITS * (self.agreement or 0.0)


@dataclass(frozen=True, slots=True)
class Response:
    """Everything that happened to one query. Timings are seconds per stage, divided evenly within a batch.

    `parts` holds what each retriever of a fusion found, by its name; `excerpts` the pieces of a context's text that the
    generator sees, by passage id, where it does not see all; `spans` what a reader found, by passage id;
    `prompt_sha256` is the hash of what it was asked with, `tokens` are those of the prompt and of the answer.
    `support` says how far the answer is supported by what it cites, where that was checked.
    """

    query: Query
    retrieved: tuple[Hit, ...] = ()
    reranked: tuple[Hit, ...] = ()
    contexts: tuple[Hit, ...] = ()
    answer: Answer | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    dropped_contexts: int = 0
    parts: Mapping[str, tuple[Hit, ...]] = field(default_factory=dict)
    excerpts: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    prompt_sha256: str = ""
    spans: Mapping[str, ReadSpan] = field(default_factory=dict)
    support: Support | None = None


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


Messages = list[Message]  # one conversation, oldest message first
Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


@runtime_checkable
class Retriever(Protocol):
    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k best passages of each query, best first, ties by id; fewer where the corpus has fewer."""
        ...


@runtime_checkable
class FusedRetriever(Retriever, Protocol):
    def retrieve_with_parts(self, queries: Sequence[str], k: int) -> tuple[list[list[Hit]], dict[str, list[list[Hit]]]]:
        """What `retrieve` returns, and the k best of every retriever that was fused, by its name."""
        ...


@runtime_checkable
class Reranker(Protocol):
    def rerank(self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Every candidate of each query with a new score, best first, ties by id."""
        ...


@runtime_checkable
class Compares(Protocol):
    def cosines(self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]]) -> list[list[float]]:
        """The cosine of each query with each of its candidates, in their order."""
        ...


@runtime_checkable
class Reader(Protocol):
    def read(self, queries: Sequence[str], contexts: Sequence[Sequence[Passage]]) -> list[list[ReadSpan]]:
        """The best span of every passage of each query, in their order."""
        ...


@runtime_checkable
class Generator(Protocol):
    @property
    def context_window_tokens(self) -> int:
        """Tokens that prompt and answer may take together."""
        ...

    def count_tokens(self, conversation: Messages) -> int:
        """Tokens of the conversation once the chat template is applied."""
        ...

    def generate(self, conversations: Sequence[Messages]) -> list[str]:
        """One raw answer per conversation, in order. Raises GenerationError."""
        ...

    def stream(self, conversation: Messages) -> Iterator[str]:
        """Text deltas of one answer. Raises GenerationError."""
        ...


@runtime_checkable
class ScoresBeginnings(Protocol):
    """What a generator can do besides: say how likely an answer is before it is written."""

    def beginning_logprobs(self, conversations: Sequence[Messages], beginning: str) -> list[float]:
        """Natural log probability that each answer begins with this text, of its tokens given the prompt.

        Raises GenerationError.
        """
        ...


@runtime_checkable
class VectorIndex(Protocol):
    def add(self, vectors: np.ndarray) -> None:
        """Append (n, d) float32 rows of at most unit length."""
        ...

    def search(self, queries: np.ndarray, k: int, within: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Scores (q, k) float32 and rows (q, k) int64, best first; row -1 means no hit. `within`, (n,) bool, says
        which rows may be found."""
        ...


def ranked(hits: Sequence[Hit]) -> list[Hit]:
    """Hits by (-score, id), the order in which metrics rank a run."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage.id))
