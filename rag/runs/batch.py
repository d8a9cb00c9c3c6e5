"""Prediction over many questions that survives being killed.

Stages run over the whole batch one after another, so that each model is loaded once and freed before the next needs
the memory. Every stage appends JSON lines to its own file in the run folder:

    RUN/run.json           settings, models, index and questions that made it; another set is refused
    RUN/retrieved.jsonl    qid, [[passage id, score], …], and the same for each part of a fusion
    RUN/reranked.jsonl     qid, [[passage id, score], …]
    RUN/spans.jsonl        qid, {passage id: [start, end, score, null]}: what a reader found, where one reads
    RUN/excerpts.jsonl     qid, {passage id: [[start, end], …]}: the sentences that the generator sees, if not all
    RUN/generated.jsonl    qid, the contexts in the prompt and their excerpts, the raw answer, tokens in and out
    RUN/predictions.jsonl  one whole line per question: all of the above, the parsed answer, and how far it is supported
    RUN/cost.json          wall seconds and peak memory of each stage, pairs cut
    RUN/provenance.json    versions, hardware and model folders of the last start; they refuse nothing
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import DataError, RunMismatchError
from rag.files import json_line, only_writer, write_json
from rag.lazy import Lazy
from rag.pipeline import Pipeline, Reading
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
    SPANS,
    STAGE_KEYS,
    StoredStages,
    generated_row,
    prediction_row,
    reranked_values,
    retrieved_row,
    spans_row,
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
    patience_seconds: float = 0.0,
) -> Path:
    """Predict every question into `folder`; returns the predictions file.

    Started again after a kill it finishes the rest, no line twice, none lost. `identity` is what made the run: with
    other settings, models, index or questions the folder is refused (RunMismatchError). `reuse` names runs whose
    stages are taken over as far as they were made in the same way; where they differ, the rerank scores of common
    pairs are, and the generator's answers to equal prompts (not their seconds: time a run that reuses nothing).
    With `oracle` the passages that it judges relevant come first after reranking, found or not, which shows what the
    generator makes of perfect retrieval. `provenance` is what else is worth knowing later (versions, hardware,
    folders); it refuses nothing. `patience_seconds` are waited for another process that writes the folder.
    """
    folder = Path(folder)
    gold = gold_of(oracle, questions, corpus)
    identity = whole_identity(identity, questions, gold, generate=generate)
    with only_run(folder, identity, patience_seconds=patience_seconds):
        for name in (*STAGE_KEYS, PREDICTIONS):  # what is damaged is made again, before anything is read
            resume_jsonl(folder / name)
        others = {Path(other): read_identity(Path(other)) for other in reuse}
        for other, theirs in others.items():
            take_over(folder, other, theirs, identity)
        if provenance is not None and len(read_jsonl(folder / PREDICTIONS)) < len(questions):
            write_json(folder / PROVENANCE_FILE, provenance)
        cost = StageCost(folder / COST_FILE)
        for stage in _stages(pipeline, gold, others, identity, generate=generate):
            # What the stages before it have left on the disk is all that a stage knows: so a kill between two costs
            # nothing, and a run that was taken over goes on like one of its own.
            stored = StoredStages(folder, corpus)
            with cost.of(stage.name) as record:
                _run_stage(stage, folder, questions, stored)
                stage.count(record)
            for component in stage.release:
                component.release()
    return folder / PREDICTIONS


def _count_nothing(record: dict) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step over all questions.

    `name` is the step's in cost.json (None: its cost is not kept), `file` its JSON lines in the run folder, a row for
    each question. `work` makes responses of a chunk of questions and of what the stages before have stored; `row` is
    what is kept of a response. `count` adds counts to the step's cost; `release` gives back the memory of components
    that no later stage needs.
    """

    name: str | None
    label: str
    file: str
    chunk_size: int
    work: Callable[[StoredStages, Sequence[Question]], list[Response]]
    row: Callable[[Question, Response], dict]
    count: Callable[[dict], None] = _count_nothing
    release: tuple[Lazy, ...] = ()


def _stages(
    pipeline: Pipeline,
    gold: Mapping[str, Sequence[Passage]],
    others: Mapping[Path, dict],
    identity: dict,
    *,
    generate: bool,
) -> list[Stage]:
    """The stages in their order. Each loads its own components alone and releases them for the next."""
    chooses_sentences = generate and pipeline.sentence_margin is not None
    stages = [_retrieving(pipeline), _reranking(pipeline, gold, others, identity, is_last_use=not chooses_sentences)]
    if pipeline.reading is not None:
        stages.append(_reading(pipeline, pipeline.reading))
    if chooses_sentences:
        stages.append(_choosing_sentences(pipeline))
    if generate:
        stages.append(_answering(pipeline, others, identity))
    return [*stages, _writing(pipeline, is_answered=generate)]


def _retrieving(pipeline: Pipeline) -> Stage:
    return Stage(
        name="retrieve",
        label="Retrieving",
        file=RETRIEVED,
        chunk_size=STAGE_CHUNK,
        work=lambda stored, chunk: pipeline.retrieve([question.query for question in chunk]),
        row=retrieved_row,
        release=(pipeline.retriever,),
    )


def _reranking(
    pipeline: Pipeline,
    gold: Mapping[str, Sequence[Passage]],
    others: Mapping[Path, dict],
    identity: dict,
    *,
    is_last_use: bool,
) -> Stage:
    """Rerank, with the scores that other runs know taken over, and gold passages put first where an oracle is asked."""
    reranking = copy.copy(pipeline)
    if known := known_scores(others, identity):
        reranking.reranker = Lazy.of(KnownScoresReranker(pipeline.reranker.get, known))

    def work(stored: StoredStages, chunk: Sequence[Question]) -> list[Response]:
        reranked = reranking.rerank([stored.retrieved(question) for question in chunk])
        return [_gold_first(response, gold.get(q.id, [])) for q, response in zip(chunk, reranked, strict=True)]

    def count(record: dict) -> None:
        if pipeline.reranker.loaded:  # else every score was known
            for name in ("pairs_scored", "passages_cut"):
                record[name] = record.get(name, 0) + getattr(pipeline.reranker.get(), name, 0)

    return Stage(
        name="rerank",
        label="Reranking",
        file=RERANKED,
        chunk_size=RERANK_CHUNK,
        work=work,
        row=lambda question, r: {**reranked_values(r), "seconds": r.timings["rerank"]},
        count=count,
        release=(pipeline.reranker,) if is_last_use else (),
    )


def _reading(pipeline: Pipeline, reading: Reading) -> Stage:
    return Stage(
        name="read",
        label="Reading",
        file=SPANS,
        chunk_size=RERANK_CHUNK,
        work=lambda stored, chunk: pipeline.read([stored.reranked(question) for question in chunk]),
        row=spans_row,
        release=(reading.reader,),
    )


def _choosing_sentences(pipeline: Pipeline) -> Stage:
    return Stage(
        name="excerpt",
        label="Choosing sentences",
        file=EXCERPTS,
        chunk_size=RERANK_CHUNK,
        work=lambda stored, chunk: pipeline.excerpt([stored.read(question) for question in chunk]),
        row=lambda question, r: {"excerpts": r.excerpts, "seconds": r.timings["excerpt"]},
        release=(pipeline.reranker,),
    )


def _answering(pipeline: Pipeline, others: Mapping[Path, dict], identity: dict) -> Stage:
    """Generate, with the answers that other runs hold to equal prompts taken over."""
    generating = copy.copy(pipeline)
    if known := known_answers(others, identity):
        generating.generator = Lazy(lambda: KnownAnswersGenerator(pipeline.generator.get(), known))
    return Stage(
        name="generate",
        label="Answering",
        file=GENERATED,
        chunk_size=ANSWER_CHUNK,
        work=lambda stored, chunk: generating.generate([stored.excerpted(question) for question in chunk]),
        row=generated_row,
        release=(pipeline.generator,),
    )


def _writing(pipeline: Pipeline, *, is_answered: bool) -> Stage:
    def work(stored: StoredStages, chunk: Sequence[Question]) -> list[Response]:
        if is_answered:
            return pipeline.check(pipeline.parse([stored.generated(question) for question in chunk]))
        return [stored.read(question) for question in chunk]

    is_checked = is_answered and pipeline.checks_support
    return Stage(
        name="check" if is_checked else None,
        label="Checking answers" if is_checked else "Writing",
        file=PREDICTIONS,
        chunk_size=RERANK_CHUNK if is_checked else STAGE_CHUNK,
        work=work,
        row=lambda question, response: prediction_row(question, response, pipeline),
        release=(pipeline.reranker,) if is_checked else (),
    )


def _run_stage(stage: Stage, folder: Path, questions: Sequence[Question], stored: StoredStages) -> None:
    """Do what the stage has not done yet; started again after a kill it does the rest."""
    path = folder / stage.file
    done = resume_jsonl(path)
    todo = [question for question in questions if question.id not in done]

    def rows(chunk: Sequence[Question]) -> list[dict]:
        responses = stage.work(stored, chunk)
        return [{"qid": q.id, **stage.row(q, response)} for q, response in zip(chunk, responses, strict=True)]

    n_done = len(questions) - len(todo)
    append_rows(path, todo, rows, label=stage.label, n_done=n_done, chunk_size=stage.chunk_size)


def questions_sha256(questions: Sequence[Question]) -> str:
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps([question.id, question.rewrite]).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def only_run(folder: Path, identity: Mapping, *, patience_seconds: float = 0.0) -> Iterator[None]:
    """Be the one process that writes a run folder, which is made where there is none, and notes what makes the run.

    Raises RunMismatchError where something else made it, or another process writes it for longer than one waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder, RunMismatchError, patience_seconds=patience_seconds):
        _check_identity(folder, identity)
        yield


def whole_identity(
    identity: Mapping, questions: Sequence[Question], gold: Mapping[str, Sequence[Passage]], *, generate: bool
) -> dict:
    """What makes a run, its questions and what an oracle puts first included."""
    whole = {**identity, "questions": questions_sha256(questions), "n": len(questions), "generate": generate}
    if gold:
        ids = {qid: [passage.id for passage in passages] for qid, passages in gold.items()}
        whole["oracle"] = hashlib.sha256(json_line(ids)).hexdigest()
    return whole


def gold_of(qrels: Qrels | None, questions: Sequence[Question], corpus: Corpus) -> dict[str, list[Passage]]:
    """The relevant passages of each question, by id; raises DataError where judgements name none of them."""
    if qrels is None:
        return {}
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


def _check_identity(folder: Path, identity: Mapping) -> None:
    path = folder / RUN_FILE
    if not path.is_file() and any((folder / name).exists() for name in (RETRIEVED, RERANKED, PREDICTIONS)):
        raise RunMismatchError(f"{folder} holds predictions but no {RUN_FILE}; choose another folder with -o")
    # Older runs recorded the settings of training too, which shape no answer.
    remember(path, identity, folder, irrelevant=["settings.training"])
