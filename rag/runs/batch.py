"""Prediction over many questions that survives being killed.

Stages run over the whole batch one after another, so that each model is loaded once and freed before the next needs
the memory. Every stage appends JSON lines to its own file in the run folder:

    RUN/run.json           settings, models, index and questions that made it; another set is refused
    RUN/retrieved.jsonl    qid, [[passage id, score], …], and the same for each part of a fusion
    RUN/reranked.jsonl     qid, [[passage id, score], …]
    RUN/excerpts.jsonl     qid, {passage id: [[start, end], …]}: the sentences that the generator sees, if not all
    RUN/generated.jsonl    qid, the contexts in the prompt and their excerpts, the raw answer, tokens in and out
    RUN/predictions.jsonl  one whole line per question: all of the above and the parsed answer
    RUN/cost.json          wall seconds and peak memory of each stage, pairs cut
    RUN/provenance.json    versions, hardware and model folders of the last start; they refuse nothing
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import DataError, RunMismatchError
from rag.files import json_line, only_writer, write_json
from rag.lazy import Lazy
from rag.pipeline import Pipeline
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl
from rag.runs.cost import StageCost
from rag.runs.known_answers import KnownAnswersGenerator
from rag.runs.known_scores import KnownScoresReranker
from rag.runs.reuse import known_answers, known_scores, read_identity, take_over
from rag.runs.stored import (
    COST_FILE,
    EXCERPTS,
    GENERATED,
    PREDICTIONS,
    PROVENANCE_FILE,
    RERANKED,
    RETRIEVED,
    RUN_FILE,
    StoredStages,
    generated_row,
    hit_pairs,
    prediction_row,
    retrieved_row,
)
from rag.types import Hit, Passage, Qrels, Response, ranked

STAGE_CHUNK = 256
RERANK_CHUNK = 32
ANSWER_CHUNK = 256


def run_batch(
    pipeline: Pipeline,
    questions: Sequence[Question],
    corpus: Corpus,
    folder: str | Path,
    identity: dict,
    *,
    generate: bool = True,
    reuse: Sequence[str | Path] = (),
    oracle: Qrels | None = None,
    provenance: Mapping | None = None,
) -> Path:
    """Predict every question into `folder`; returns the predictions file.

    Started again after a kill it finishes the rest, no line twice, none lost. `identity` is what made the run: with
    other settings, models, index or questions the folder is refused (RunMismatchError). `reuse` names runs whose
    stages are taken over as far as they were made in the same way; where they differ, the rerank scores of common
    pairs are, and the generator's answers to equal prompts (not their seconds: time a run that reuses nothing).
    With `oracle` the passages that it judges relevant come first after reranking, found or not, which shows what the
    generator makes of perfect retrieval. `provenance` is what else is worth knowing later (versions, hardware,
    folders); it refuses nothing.
    """
    folder = Path(folder)
    gold = _gold(oracle, questions, corpus) if oracle is not None else {}
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder, RunMismatchError):
        identity = {**identity, "questions": questions_sha256(questions), "n": len(questions), "generate": generate}
        if gold:
            ids = {qid: [passage.id for passage in passages] for qid, passages in gold.items()}
            identity["oracle"] = hashlib.sha256(json_line(ids)).hexdigest()
        _check_identity(folder, identity)
        others = {Path(other): read_identity(Path(other)) for other in reuse}
        for other, theirs in others.items():
            take_over(folder, other, theirs, identity)
        if provenance is not None and len(read_jsonl(folder / PREDICTIONS)) < len(questions):
            write_json(folder / PROVENANCE_FILE, provenance)
        cost = StageCost(folder / COST_FILE)
        with cost.of("retrieve"):
            _run_stage(
                "Retrieving",
                folder / RETRIEVED,
                questions,
                lambda chunk: pipeline.retrieve([question.query for question in chunk]),
                retrieved_row,
                STAGE_CHUNK,
            )
        pipeline.retriever.release()
        stored = StoredStages(folder, corpus)
        reranking = copy.copy(pipeline)
        if known := known_scores(others, identity):
            reranking.reranker = Lazy.of(KnownScoresReranker(pipeline.reranker.get, known))
        with cost.of("rerank") as record:
            _run_stage(
                "Reranking",
                folder / RERANKED,
                questions,
                lambda chunk: [
                    _gold_first(response, gold.get(question.id, []))
                    for question, response in zip(
                        chunk, reranking.rerank([stored.retrieved(question) for question in chunk]), strict=True
                    )
                ],
                lambda question, r: {"reranked": hit_pairs(r.reranked), "seconds": r.timings["rerank"]},
                RERANK_CHUNK,
            )
            if pipeline.reranker.loaded:
                for count in ("pairs_scored", "passages_cut"):
                    record[count] = record.get(count, 0) + getattr(pipeline.reranker.get(), count, 0)
        stored = StoredStages(folder, corpus)
        if generate and pipeline.sentence_margin is not None:
            with cost.of("excerpt"):
                _run_stage(
                    "Choosing sentences",
                    folder / EXCERPTS,
                    questions,
                    lambda chunk: pipeline.excerpt([stored.reranked(question) for question in chunk]),
                    lambda question, r: {"excerpts": r.excerpts, "seconds": r.timings["excerpt"]},
                    RERANK_CHUNK,
                )
            stored = StoredStages(folder, corpus)
        pipeline.reranker.release()
        generating = copy.copy(pipeline)
        if known := known_answers(others, identity):
            generating.generator = Lazy(lambda: KnownAnswersGenerator(pipeline.generator.get(), known))
        if generate:
            with cost.of("generate"):
                _run_stage(
                    "Answering",
                    folder / GENERATED,
                    questions,
                    lambda chunk: generating.generate([stored.excerpted(question) for question in chunk]),
                    generated_row,
                    ANSWER_CHUNK,
                )
            pipeline.generator.release()
            stored = StoredStages(folder, corpus)
        _run_stage(
            "Writing",
            folder / PREDICTIONS,
            questions,
            lambda chunk: (
                pipeline.parse([stored.generated(q) for q in chunk])
                if generate
                else [stored.reranked(q) for q in chunk]
            ),
            lambda question, response: prediction_row(question, response, pipeline),
            STAGE_CHUNK,
        )
    return folder / PREDICTIONS


def questions_sha256(questions: Sequence[Question]) -> str:
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps([question.id, question.rewrite]).encode())
    return digest.hexdigest()


def _gold(qrels: Qrels, questions: Sequence[Question], corpus: Corpus) -> dict[str, list[Passage]]:
    """The relevant passages of each question, by id."""
    gold = {
        question.id: [corpus.by_id(pid) for pid, grade in sorted(grades.items()) if grade > 0 and pid in corpus]
        for question in questions
        if (grades := qrels.get(question.id))
    }
    if not any(gold.values()):
        raise DataError("the oracle's qrels name a passage of this index for none of these questions")
    return gold


def _gold_first(response: Response, gold: Sequence[Passage]) -> Response:
    """The gold passages one logit above the best of all."""
    if not gold:
        return response
    rest = [hit for hit in response.reranked if hit.passage not in gold]
    best = max((hit.score for hit in response.reranked), default=0.0) + 1
    return dataclasses.replace(response, reranked=tuple(ranked([*(Hit(passage, best) for passage in gold), *rest])))


def _check_identity(folder: Path, identity: dict) -> None:
    path = folder / RUN_FILE
    if not path.is_file() and any((folder / name).exists() for name in (RETRIEVED, RERANKED, PREDICTIONS)):
        raise RunMismatchError(f"{folder} holds predictions but no {RUN_FILE}; choose another folder with -o")
    remember(path, identity, folder)


def _run_stage(
    label: str,
    path: Path,
    questions: Sequence[Question],
    work: Callable[[Sequence[Question]], list[Response]],
    row: Callable[[Question, Response], dict],
    chunk_size: int,
) -> None:
    done = resume_jsonl(path)
    todo = [question for question in questions if question.id not in done]

    def rows(chunk: Sequence[Question]) -> list[dict]:
        return [{"qid": q.id, **row(q, response)} for q, response in zip(chunk, work(chunk), strict=True)]

    append_rows(path, todo, rows, label=label, n_done=len(questions) - len(todo), chunk_size=chunk_size)
