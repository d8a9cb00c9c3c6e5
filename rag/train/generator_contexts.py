"""The contexts that a generator is trained with: found once by the pipeline that serves, and kept for every run.

    FILE                    a line for each question: its best passages with their scores, the passages that answer it,
                            and the score of every sentence of all these
    FILE's .settings.json   what found them; other models, passages or depths are refused

Sentences are kept with their scores, so that any of the passages can be shown together later with just the sentences
that the pipeline would then choose.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.build.identity import retriever_record
from rag.build.pipelines import make_pipeline, sentence_margin
from rag.build.serving import Serving
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.errors import DataError
from rag.index.read import open_index
from rag.lazy import Lazy
from rag.pipeline import Pipeline
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl
from rag.types import Hit, Query, Reranker, Response, ranked

CHUNK_QUESTIONS = 32
SPARE = 5
"""Passages kept beside those that are shown, to take the places of what is withheld."""
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Contexts:
    """What the pipeline found for a question.

    `candidates` are (passage id, rerank logit), best first; `gold` the ids of the passages that answer; `sentences` the
    rerank logits of sentences, by the ids that `rag.generate.excerpts` gives them, none where whole passages are shown.
    """

    qid: str
    query: str
    candidates: tuple[tuple[str, float], ...]
    gold: tuple[str, ...]
    sentences: Mapping[str, float]

    def best(self, n: int) -> list[str]:
        """The ids of the best `n` candidates."""
        return [pid for pid, _ in self.candidates[:n]]

    def response(self, pipeline: Pipeline, corpus: Corpus, ids: Sequence[str], text: str | None = None) -> Response:
        """What the pipeline would make of these passages in this order: with the sentences that it would choose.

        `text` is asked in the place of the question. Sentences are chosen for the question itself. Raises DataError
        where the file of contexts knows other sentences.
        """
        scores = dict(self.candidates)
        hits = tuple(Hit(corpus.by_id(pid), scores.get(pid, 0.0)) for pid in ids)
        knowing = copy.copy(pipeline)
        knowing.reranker = Lazy.of(_Knows(self.sentences))
        (response,) = knowing.choose_sentences([Response(Query(self.qid, self.query), reranked=hits)])
        return response if text is None else dataclasses.replace(response, query=Query(self.qid, text))


def find_contexts(serving: Serving, examples: Sequence[Example], target: str | Path) -> dict[str, Contexts]:
    """The contexts of every example, by question id, from the file `target`; those that it lacks are found first.

    Started again after a kill, it finds the rest. Raises RunMismatchError where something else found those in the file,
    DataError where they belong to other questions or labels.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    remember(target.with_suffix(".settings.json"), _identity(serving), target)
    done = resume_jsonl(target)
    todo = [example for example in examples if example.question.id not in done]
    if todo:
        pipeline = make_pipeline(serving, interactive=False)
        corpus = open_index(serving.index_folder).corpus
        append_rows(
            target,
            todo,
            lambda chunk: [dataclasses.asdict(found) for found in _find(pipeline, corpus, chunk)],
            label="Finding contexts",
            n_done=len(examples) - len(todo),
            chunk_size=CHUNK_QUESTIONS,
        )
        for component in (pipeline.retriever, pipeline.reranker):
            component.release()
    return _read(target, examples)


def _identity(serving: Serving) -> dict:
    """What the contexts depend on. Questions are not part of it: each stands for itself."""
    settings = serving.settings
    return {
        "index": serving.manifest.fingerprint,
        **serving.query_identity(),
        "retriever": retriever_record(settings),
        "reranker": serving.reranker_sha256(),
        "depth": settings.reranker.depth,
        **({"cosine_weight": settings.reranker.cosine_weight} if settings.reranker.cosine_weight else {}),
        "kept": settings.prompt.contexts + SPARE,
        "sentences": sentence_margin(settings) is not None,
    }


def _find(pipeline: Pipeline, corpus: Corpus, chunk: Sequence[Example]) -> list[Contexts]:
    """The contexts of some questions, in their order."""
    responses = pipeline.rerank(pipeline.retrieve([example.question.query for example in chunk]))
    kept = pipeline.depths.contexts + SPARE
    read = []
    for example, response in zip(chunk, responses, strict=True):
        best = response.reranked[:kept]
        there = {hit.passage.id for hit in best}
        gold = tuple(Hit(corpus.by_id(pid), 0.0) for pid in example.positives if pid not in there)
        read.append(dataclasses.replace(response, reranked=best + gold))
    noting = copy.copy(pipeline)
    notes = _Notes(pipeline.reranker)
    noting.reranker = Lazy.of(notes)
    noting.depths = dataclasses.replace(pipeline.depths, contexts=max(len(one.reranked) for one in read))
    noting.choose_sentences(read)
    return [
        Contexts(
            example.question.id,
            example.question.rewrite,
            tuple((hit.passage.id, round(hit.score, DIGITS)) for hit in response.reranked[:kept]),
            example.positives,
            notes.scores.get(example.question.rewrite, {}),
        )
        for example, response in zip(chunk, responses, strict=True)
    ]


def _read(target: Path, examples: Sequence[Example]) -> dict[str, Contexts]:
    rows = {row["qid"]: row for row in read_jsonl(target)}
    found = {}
    for example in examples:
        row = rows[example.question.id]
        if row["query"] != example.question.rewrite or set(row["gold"]) != set(example.positives):
            raise DataError(
                f"{target} holds the contexts of another question {example.question.id!r}, or of one with other right "
                "passages; name another file: --contexts FILE"
            )
        pairs = tuple((pid, score) for pid, score in row["candidates"])
        found[example.question.id] = Contexts(row["qid"], row["query"], pairs, tuple(row["gold"]), row["sentences"])
    return found


class _Notes:
    """A reranker that notes the score of every sentence that it is asked for, by query."""

    def __init__(self, reranker: Lazy[Reranker]):
        self._reranker = reranker
        self.scores: dict[str, dict[str, float]] = {}

    def rerank(self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        found = self._reranker.get().rerank(queries, candidates)
        for query, hits in zip(queries, found, strict=True):
            self.scores.setdefault(query, {}).update({hit.passage.id: round(hit.score, DIGITS) for hit in hits})
        return found


class _Knows:
    """A reranker that knows the score of every sentence of a question."""

    def __init__(self, scores: Mapping[str, float]):
        self._scores = scores

    def rerank(self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        try:
            return [ranked([Hit(hit.passage, self._scores[hit.passage.id]) for hit in hits]) for hits in candidates]
        except KeyError as error:
            raise DataError(
                f"the file of contexts knows no sentence {error}, because it was made by another version; name another "
                "file: --contexts FILE"
            ) from None
