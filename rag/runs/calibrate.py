"""Choosing on dev questions the score below which a question is refused."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.build.identity import run_identity
from rag.build.indexes import corpus_of
from rag.build.pipelines import make_pipeline
from rag.build.serving import Serving
from rag.data.questions import Question
from rag.errors import ConfigError, DataError
from rag.evaluate.calibration import calibrate
from rag.evaluate.files import read_predictions
from rag.files import write_json
from rag.index.calibration import CALIBRATION_FILE
from rag.runs.batch import run_batch
from rag.types import CANNOTANSWER


def make_calibration(
    serving: Serving,
    queries: str | Path,
    questions: Sequence[Question],
    run_folder: str | Path | None,
    *,
    min_precision: float,
    max_wrong_refusals: float,
) -> list[str]:
    """Retrieve and rerank dev questions, choose the refusal threshold, store it with the index; returns a summary.

    `run_folder` keeps the scores (None: a folder within the index). `min_precision` and `max_wrong_refusals` are the
    limits of `rag.evaluate.calibration.calibrate`. Raises ConfigError without a reranker, DataError where all questions
    are answerable, or none is.
    """
    if serving.reranker is None:
        raise ConfigError("calibration needs rerank scores; leave reranker.enabled = true")
    known = [question for question in questions if question.answer is not None]
    answerable = [question.answer != CANNOTANSWER for question in known]
    if all(answerable) or not any(answerable):
        raise DataError(
            f"{queries} must hold both answerable and unanswerable questions (answer text {CANNOTANSWER!r}) "
            "for a threshold to be chosen between them"
        )
    result = calibrate(
        _best_scores(serving, queries, known, run_folder),
        answerable,
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
    )
    result |= {
        "reranker_model": serving.settings.reranker.model,
        "serving": serving.reranker,
        "index": serving.manifest.fingerprint,
        "queries": str(queries),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    path = serving.index_folder / CALIBRATION_FILE
    write_json(path, result)
    return _summary(result, path)


def _best_scores(
    serving: Serving, queries: str | Path, questions: Sequence[Question], run_folder: str | Path | None
) -> list[float]:
    """The best rerank score of each question, from a run that refuses nothing; minus infinity without a hit."""
    pipeline = make_pipeline(serving, interactive=False)
    pipeline.rerank_threshold = None
    identity = run_identity(serving, queries, generate=False) | {"rerank_threshold": None}
    folder = Path(run_folder) if run_folder else _own_run(serving.index_folder, identity)
    run_batch(pipeline, questions, corpus_of(serving.index_folder), folder, identity, generate=False)
    reranked = {row["qid"]: row["reranked"] for row in read_predictions(folder)}
    return [reranked[q.id][0][1] if reranked[q.id] else float("-inf") for q in questions]


def _own_run(index_folder: Path, identity: Mapping) -> Path:
    """The index's own folder for the runs of calibrations made like this one; those made otherwise are removed."""
    made_by = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    folder = index_folder / f"calibration-run-{made_by}"
    for other in index_folder.glob("calibration-run*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _summary(result: dict, path: Path) -> list[str]:
    lines = [f"{result['n']:,} questions, {result['n_unanswerable']:,} unanswerable; AUC {result['auc']:.3f}"]
    if result["threshold"] is None:
        return [*lines, f"no threshold refuses within the limits and helps; none is set ({path})"]
    point = next(p for p in result["curve"] if p["threshold"] == result["threshold"])
    figures = ", ".join(f"{name} {point[name]:.3f}" for name in point if name != "threshold")
    return [*lines, f"threshold {result['threshold']:.3f}: {figures}", f"stored in {path}"]
