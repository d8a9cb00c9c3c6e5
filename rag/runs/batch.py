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

import contextlib
import copy
import dataclasses
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from rag.data import Corpus, Question
from rag.errors import DataError, RunMismatchError
from rag.files import flatten, json_line, read_jsonl, resume_jsonl, write_json, write_whole
from rag.generate.known import KnownAnswers, KnownAnswersGenerator
from rag.pipeline import Lazy, Pipeline
from rag.progress import progress
from rag.rerank.known import KnownScores, KnownScoresReranker
from rag.types import CANNOTANSWER, Answer, Hit, Passage, Qrels, Response, Span, ranked

RUN_FILE = "run.json"
RETRIEVED, RERANKED, GENERATED = "retrieved.jsonl", "reranked.jsonl", "generated.jsonl"
EXCERPTS = "excerpts.jsonl"
PREDICTIONS, COST_FILE, PROVENANCE_FILE = "predictions.jsonl", "cost.json", "provenance.json"
STAGE_CHUNK = 256
RERANK_CHUNK = 32
ANSWER_CHUNK = 256
# What shapes each stage's file, besides the stages before it: keys of run.json.
STAGE_KEYS = {
    RETRIEVED: ("index", "encoder", "settings.retriever", "settings.index", "settings.encoder"),
    RERANKED: ("reranker", "settings.reranker", "oracle"),
    EXCERPTS: ("settings.prompt.contexts", "settings.prompt.sentence_margin"),
    GENERATED: (
        "generator",
        "prompt_sha256",
        "settings.generator",
        "settings.prompt.contexts",
        "settings.prompt.order",
        "settings.prompt.sentence_margin",
        "settings.prompt.withhold_instructions",
    ),
}


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
    with _lock(folder):
        identity = {**identity, "questions": questions_sha256(questions), "n": len(questions), "generate": generate}
        if gold:
            ids = {qid: [passage.id for passage in passages] for qid, passages in gold.items()}
            identity["oracle"] = hashlib.sha256(json_line(ids)).hexdigest()
        _check_identity(folder, identity)
        others = {Path(other): _read_identity(Path(other)) for other in reuse}
        for other, theirs in others.items():
            _take_over(folder, other, theirs, identity)
        if provenance is not None and len(read_jsonl(folder / PREDICTIONS)) < len(questions):
            write_json(folder / PROVENANCE_FILE, provenance)
        cost = _Cost(folder / COST_FILE)
        with cost.of("retrieve"):
            _run_stage(
                "Retrieving",
                folder / RETRIEVED,
                questions,
                lambda chunk: pipeline.retrieve([question.query for question in chunk]),
                _retrieved_row,
                STAGE_CHUNK,
            )
        pipeline.retriever.release()
        stored = _Stored(folder, corpus)
        reranking = copy.copy(pipeline)
        if known := _known_scores(others, identity):
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
                lambda question, r: {"reranked": _pairs(r.reranked), "seconds": r.timings["rerank"]},
                RERANK_CHUNK,
            )
            if pipeline.reranker.loaded:
                for count in ("pairs_scored", "passages_cut"):
                    record[count] = record.get(count, 0) + getattr(pipeline.reranker.get(), count, 0)
        stored = _Stored(folder, corpus)
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
            stored = _Stored(folder, corpus)
        pipeline.reranker.release()
        generating = copy.copy(pipeline)
        if known_answers := _known_answers(others, identity):
            generating.generator = Lazy(lambda: KnownAnswersGenerator(pipeline.generator.get(), known_answers))
        if generate:
            with cost.of("generate"):
                _run_stage(
                    "Answering",
                    folder / GENERATED,
                    questions,
                    lambda chunk: generating.generate([stored.excerpted(question) for question in chunk]),
                    _generated_row,
                    ANSWER_CHUNK,
                )
            pipeline.generator.release()
            stored = _Stored(folder, corpus)
        _run_stage(
            "Writing",
            folder / PREDICTIONS,
            questions,
            lambda chunk: (
                pipeline.parse([stored.generated(q) for q in chunk])
                if generate
                else [stored.reranked(q) for q in chunk]
            ),
            lambda question, response: _prediction_row(question, response, pipeline),
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


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunMismatchError(f"another process is writing {folder}; wait for it, or choose another -o") from error
    try:
        yield
    finally:
        lock.release()


def _check_identity(folder: Path, identity: dict) -> None:
    path = folder / RUN_FILE
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(
            key
            for key in flatten(stored).keys() | flatten(identity).keys()
            if flatten(stored).get(key) != flatten(identity).get(key)
        )
        if differing:
            details = "; ".join(
                f"{key}: {_short(flatten(stored).get(key))} there, {_short(flatten(identity).get(key))} now"
                for key in differing[:4]
            )
            raise RunMismatchError(
                f"{folder} holds predictions made otherwise ({details}); choose another folder with -o, or delete it"
            )
        return
    if any((folder / name).exists() for name in (RETRIEVED, RERANKED, PREDICTIONS)):
        raise RunMismatchError(f"{folder} holds predictions but no {RUN_FILE}; choose another folder with -o")
    write_json(path, identity)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…'"


def _read_identity(run: Path) -> dict:
    try:
        return flatten(json.loads((run / RUN_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunMismatchError(f"{run} is no run folder: {error}") from error


def _known_scores(others: dict[Path, dict], identity: dict) -> KnownScores:
    """The rerank score of every (query, passage id) that other runs over the same index hold from the same model."""
    ours = flatten(identity)
    if ours.get("reranker") is None:
        return {}
    known = {}
    for other, theirs in others.items():
        keys = [k for k in ours.keys() | theirs.keys() if k == "reranker" or k.startswith("settings.reranker.")]
        shaping = {"index", *keys} - {"settings.reranker.depth"}
        if "oracle" not in theirs and all(ours.get(key) == theirs.get(key) for key in shaping):
            for row in read_jsonl(other / PREDICTIONS):
                known.update(((row["query"], pid), score) for pid, score in row["reranked"])
    return known


def _known_answers(others: dict[Path, dict], identity: dict) -> KnownAnswers:
    """The raw answer to every prompt, by its hash, that other runs hold from the same generator."""
    ours, known = flatten(identity), {}
    for other, theirs in others.items():
        keys = {k for k in ours.keys() | theirs.keys() if k == "generator" or k.startswith("settings.generator.")}
        if all(ours.get(key) == theirs.get(key) for key in keys):
            rows = read_jsonl(other / GENERATED)
            known.update((row["prompt_sha256"], row["raw"]) for row in rows if row.get("prompt_sha256"))
    return known


def _take_over(folder: Path, other: Path, theirs: dict, identity: dict) -> None:
    """Copy finished stages of another run where everything that shaped them is the same."""
    ours = flatten(identity)
    if ours["questions"] != theirs.get("questions"):
        return  # equal ids need not mean equal questions
    for name in STAGE_KEYS:
        file = other / name
        if name == EXCERPTS and not file.is_file() and not (folder / name).is_file():
            continue  # neither run may need any; if one does, the settings differ
        keys = [
            k for k in ours.keys() | theirs.keys() if any(k == p or k.startswith(p + ".") for p in STAGE_KEYS[name])
        ]
        if not file.is_file() or any(ours.get(key) != theirs.get(key) for key in keys):
            return  # later stages were built on this one
        if name == GENERATED and not _generated_enough(theirs.get("rerank_threshold"), ours.get("rerank_threshold")):
            return
        if not (folder / name).exists():
            write_whole(folder / name, b"".join(json_line(row) for row in read_jsonl(file)))


def _generated_enough(their_threshold: float | None, our_threshold: float | None) -> bool:
    """Whether a run that refused below one score holds an answer to everything that another threshold lets through."""
    return their_threshold is None or (our_threshold is not None and their_threshold <= our_threshold)


class _Cost:
    """RUN/cost.json: what each stage took in this process and those before it, loading included.

    Memory is the process's peak up to the end of the stage. What a killed process took is not known.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            self._record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._record = {"stages": {}}

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[dict]:
        """Time a stage; what is put into the record that it yields is kept too."""
        record = self._record["stages"].setdefault(stage, {"seconds": 0.0, "peak_memory_gib": 0.0})
        started = time.perf_counter()
        try:
            yield record
        finally:
            record["seconds"] = round(record["seconds"] + time.perf_counter() - started, 2)
            record["peak_memory_gib"] = round(max(record["peak_memory_gib"], _memory_gib()), 2)
            write_json(self._path, self._record)


def _memory_gib() -> float:
    """The peak of this process so far, and what its children (vLLM's engine) hold now."""
    import psutil

    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    children = 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            children += child.memory_info().rss
    return (own + children) / 2**30


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
    if not todo:
        return
    with (
        path.open("ab") as stream,
        progress(label, len(questions), "questions", already_done=len(questions) - len(todo)) as bar,
    ):
        for start in range(0, len(todo), chunk_size):
            chunk = todo[start : start + chunk_size]
            results = work(chunk)
            stream.write(b"".join(json_line({"qid": q.id, **row(q, r)}) for q, r in zip(chunk, results, strict=True)))
            stream.flush()
            os.fsync(stream.fileno())
            bar.advance(len(chunk))


def _pairs(hits: Iterable[Hit]) -> list[list]:
    return [[hit.passage.id, round(hit.score, 9)] for hit in hits]


class _Stored:
    """The finished stages of a run folder, joined into responses again."""

    def __init__(self, folder: Path, corpus: Corpus):
        self._corpus = corpus
        self._rows = {name: {row["qid"]: row for row in read_jsonl(folder / name)} for name in STAGE_KEYS}

    def retrieved(self, question: Question) -> Response:
        row = self._rows[RETRIEVED][question.id]
        return Response(
            question.query,
            self._hits(row["retrieved"]),
            parts={name: self._hits(pairs) for name, pairs in row.get("parts", {}).items()},
            timings={"retrieve": row["seconds"]},
        )

    def reranked(self, question: Question) -> Response:
        response, row = self.retrieved(question), self._rows[RERANKED][question.id]
        timings = {**response.timings, "rerank": row["seconds"]}
        return dataclasses.replace(response, reranked=self._hits(row["reranked"]), timings=timings)

    def excerpted(self, question: Question) -> Response:
        response, row = self.reranked(question), self._rows[EXCERPTS].get(question.id)
        if row is None:
            return response
        timings = {**response.timings, "excerpt": row["seconds"]}
        return dataclasses.replace(response, excerpts=_spans(row), timings=timings)

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


def _retrieved_row(question: Question, response: Response) -> dict:
    row: dict = {"retrieved": _pairs(response.retrieved), "seconds": response.timings["retrieve"]}
    if response.parts:
        row["parts"] = {name: _pairs(hits) for name, hits in response.parts.items()}
    return row


def _generated_row(question: Question, response: Response) -> dict:
    return {
        "contexts": [hit.passage.id for hit in response.contexts],
        "excerpts": response.excerpts,
        "dropped_contexts": response.dropped_contexts,
        "prompt_sha256": response.prompt_sha256,
        "raw": response.answer.raw,
        "tokens": dict(response.tokens),
        "seconds": response.timings["generate"],
    }


def _prediction_row(question: Question, response: Response, pipeline: Pipeline) -> dict:
    answer = response.answer
    refused_by = None
    if answer is not None and answer.abstained:
        by_generator = "model" if response.contexts else "window"
        refused_by = "score" if pipeline.refuses(response.reranked) else by_generator
    return {
        "query": question.rewrite,
        "source": question.source,
        "retrieved": _pairs(response.retrieved),
        **({"parts": {name: _pairs(hits) for name, hits in response.parts.items()}} if response.parts else {}),
        "reranked": _pairs(response.reranked),
        "contexts": [hit.passage.id for hit in response.contexts],
        **({"excerpts": response.excerpts} if response.excerpts else {}),
        "dropped_contexts": response.dropped_contexts,
        "raw": answer.raw if answer else None,
        "answer": answer.text if answer else None,
        "citations": list(answer.citations) if answer else None,
        "abstained": answer.abstained if answer else None,
        "abstained_by": refused_by,
        "tokens": dict(response.tokens),
        "seconds": {stage: round(seconds, 4) for stage, seconds in response.timings.items()},
    }
