"""The files of a run folder, and finished stages joined into responses again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rag import fixes
from rag.config import RerankerSettings, Settings
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import DataError
from rag.files import json_if_sound
from rag.models.adapters import untuned
from rag.pipeline import Pipeline
from rag.progress import say
from rag.resume import read_jsonl
from rag.types import CANNOTANSWER, Answer, Hit, ReadSpan, Response, Span, Support

RUN_FILE = "run.json"
RETRIEVED, RERANKED, GENERATED = "retrieved.jsonl", "reranked.jsonl", "generated.jsonl"
SPANS, EXCERPTS = "spans.jsonl", "excerpts.jsonl"
PREDICTIONS, COST_FILE, PROVENANCE_FILE = "predictions.jsonl", "cost.json", "provenance.json"

# What shapes each stage's file, besides the stages before it: keys of run.json.
STAGE_KEYS = {
    RETRIEVED: ("index", "encoder", "query_encoder", "settings.retriever", "settings.index", "settings.encoder"),
    RERANKED: ("reranker", "settings.reranker", "oracle"),
    SPANS: ("reader", "settings.reader.depth", "settings.reader.max_length_tokens", "settings.reader.precision"),
    EXCERPTS: ("settings.prompt.contexts", "settings.prompt.sentence_margin", "settings.reader.answer_margin"),
    GENERATED: (
        "generator",
        "prompt_sha256",
        "settings.generator",
        "settings.prompt.contexts",
        "settings.prompt.order",
        "settings.prompt.sentence_margin",
        "settings.prompt.withhold_instructions",
        "settings.reader.answer_margin",
    ),
}


def as_begun(settings: Settings, folder: Path) -> Settings:
    """The settings with which a run goes on: with what served by default when it was begun.

    Without a span reader, where none read then; with the reranker that the serving one was tuned of, at its depth.
    """
    begun = json_if_sound(folder / RUN_FILE)
    if begun is None:
        return settings
    settings = _reranked_as_begun(settings, folder, begun.get("settings", {}).get("reranker", {}))
    if "reader" in begun or not settings.reader.enabled:
        return settings
    say(f"{folder} was begun without a span reader, and goes on without one; choose another -o to have one read")
    return settings.model_copy(update={"reader": settings.reader.model_copy(update={"enabled": False})})


def _reranked_as_begun(settings: Settings, folder: Path, begun: Mapping) -> Settings:
    if not begun or begun["model"] != untuned(settings.reranker.model):
        return settings
    say(f"{folder} was begun with the reranker {begun['model']}, and goes on with it; choose another -o for another")
    changes = {"model": begun["model"]}
    if settings.reranker.depth == RerankerSettings().depth:  # it was another by default
        changes["depth"] = begun["depth"]
    return settings.model_copy(update={"reranker": settings.reranker.model_copy(update=changes)})


def hit_pairs(hits: Iterable[Hit]) -> list[list]:
    return [[hit.passage.id, round(hit.score, 9)] for hit in hits]


def _of(stage: str) -> Callable[[Callable], Callable]:
    """What a method makes of a row of this stage; raises DataError, which names the file, where the row is damaged."""

    def checked(method: Callable[[StoredStages, Question], Response]) -> Callable[[StoredStages, Question], Response]:
        @functools.wraps(method)
        def read(self: StoredStages, question: Question) -> Response:
            try:
                return method(self, question)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                path = self.folder / stage
                raise DataError(
                    f"{path} holds a damaged row for the question {question.id!r} ({error}); set it aside, and the "
                    f"same command makes it again: {fixes.set_aside(path)}"
                ) from error

        return read

    return checked


class StoredStages:
    """The finished stages of a run folder, joined into responses again."""

    def __init__(self, folder: Path, corpus: Corpus):
        self.folder = folder
        self._corpus = corpus
        self._rows = {name: {row["qid"]: row for row in read_jsonl(folder / name)} for name in STAGE_KEYS}

    @_of(RETRIEVED)
    def retrieved(self, question: Question) -> Response:
        row = self._rows[RETRIEVED][question.id]
        return Response(
            question.query,
            self._hits(row["retrieved"]),
            parts={name: self._hits(pairs) for name, pairs in row.get("parts", {}).items()},
            timings={"retrieve": row["seconds"]},
        )

    @_of(RERANKED)
    def reranked(self, question: Question) -> Response:
        response, row = self.retrieved(question), self._rows[RERANKED][question.id]
        timings = {**response.timings, "rerank": row["seconds"]}
        hits = self._hits(row["reranked"])
        if "logits" in row:
            hits = tuple(Hit(hit.passage, hit.score, one) for hit, one in zip(hits, row["logits"], strict=True))
        return dataclasses.replace(response, reranked=hits, timings=timings)

    @_of(SPANS)
    def read(self, question: Question) -> Response:
        response, row = self.reranked(question), self._rows[SPANS].get(question.id)
        if row is None:
            return response
        spans = {pid: ReadSpan(*values) for pid, values in row["spans"].items()}
        return dataclasses.replace(response, spans=spans, timings={**response.timings, "read": row["seconds"]})

    @_of(EXCERPTS)
    def excerpted(self, question: Question) -> Response:
        response, row = self.read(question), self._rows[EXCERPTS].get(question.id)
        if row is None:
            return response
        timings = {**response.timings, "excerpt": row["seconds"]}
        return dataclasses.replace(response, excerpts=_spans(row), timings=timings)

    @_of(GENERATED)
    def generated(self, question: Question) -> Response:
        response, row = self.excerpted(question), self._rows[GENERATED][question.id]
        hits = {hit.passage.id: hit for hit in response.reranked}
        return dataclasses.replace(
            response,
            contexts=tuple(hits[pid] for pid in row["contexts"] if pid in hits),
            excerpts=_spans(row) if "excerpts" in row else response.excerpts,
            dropped_contexts=row["dropped_contexts"],
            answer=Answer(row["raw"] or CANNOTANSWER, (), row["raw"]),
            tokens=row.get("tokens", {}),
            timings={**response.timings, "generate": row["seconds"]},
        )

    def _hits(self, pairs: Iterable[Sequence]) -> tuple[Hit, ...]:
        return tuple(Hit(self._corpus.by_id(pid), score) for pid, score in pairs)


def _spans(row: Mapping) -> dict[str, tuple[Span, ...]]:
    return {pid: tuple((start, end) for start, end in spans) for pid, spans in row["excerpts"].items()}


def retrieved_row(question: Question, response: Response) -> dict:
    row: dict = {"retrieved": hit_pairs(response.retrieved), "seconds": response.timings["retrieve"]}
    if response.parts:
        row["parts"] = {name: hit_pairs(hits) for name, hits in response.parts.items()}
    return row


def reranked_values(response: Response) -> dict[str, list]:
    """The reranked passages with their scores, and their own logits where the scores are mixed with cosines."""
    pairs = hit_pairs(response.reranked)
    if all(hit.logit is None for hit in response.reranked):
        return {"reranked": pairs}
    return {"reranked": pairs, "logits": [round(hit.evidence, 9) for hit in response.reranked]}


def spans_row(question: Question, response: Response) -> dict:
    return {"spans": span_values(response), "seconds": response.timings["read"]}


def span_values(response: Response) -> dict[str, list]:
    """Passage id -> [start, end, score, null] of the span that was read there."""
    return {
        pid: [span.start, span.end, round(span.score, 9), round(span.null, 9)] for pid, span in response.spans.items()
    }


def support_values(support: Support) -> dict:
    """What is kept of how far an answer is supported: `score` is made of the two numbers before it."""
    return {
        "word_for_word": list(support.word_for_word),
        "logit": round(support.logit, 9),
        "agreement": support.agreement,
        "score": round(support.score, 9),
    }


def generated_row(question: Question, response: Response) -> dict:
    assert response.answer is not None  # the stage before has generated
    return {
        "contexts": [hit.passage.id for hit in response.contexts],
        "excerpts": response.excerpts,
        "dropped_contexts": response.dropped_contexts,
        "prompt_sha256": response.prompt_sha256,
        "raw": response.answer.raw,
        "tokens": dict(response.tokens),
        "seconds": response.timings["generate"],
    }


def prediction_row(question: Question, response: Response, pipeline: Pipeline) -> dict:
    answer = response.answer
    refused_by = None
    if answer is not None and answer.abstained:
        by_generator = "model" if response.contexts else "window"
        refused_by = "score" if pipeline.refuses(response) else by_generator
    return {
        "query": question.rewrite,
        "source": question.source,
        "retrieved": hit_pairs(response.retrieved),
        **({"parts": {name: hit_pairs(hits) for name, hits in response.parts.items()}} if response.parts else {}),
        **reranked_values(response),
        "contexts": [hit.passage.id for hit in response.contexts],
        **({"excerpts": response.excerpts} if response.excerpts else {}),
        **({"spans": span_values(response)} if response.spans else {}),
        "dropped_contexts": response.dropped_contexts,
        "raw": answer.raw if answer else None,
        "answer": answer.text if answer else None,
        "citations": list(answer.citations) if answer else None,
        **({"marks": answer.marks} if answer and answer.marks else {}),
        **({"support": support_values(response.support)} if response.support else {}),
        "abstained": answer.abstained if answer else None,
        "abstained_by": refused_by,
        "tokens": dict(response.tokens),
        "seconds": {stage: round(seconds, 4) for stage, seconds in response.timings.items()},
    }
