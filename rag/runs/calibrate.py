"""Choosing on dev questions what a question is refused below: a rerank score, or a score by all evidence."""

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
from rag.build.threshold import reader_record
from rag.data.questions import Question
from rag.errors import ConfigError, DataError
from rag.evaluate.evidence import calibrate_evidence
from rag.evidence import RERANK, features_of
from rag.files import write_json
from rag.index.calibration import CALIBRATION_FILE
from rag.runs.batch import run_batch
from rag.runs.stored import StoredStages
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
    limits of `rag.evaluate.calibration.calibrate`. Where a span reader serves, its margin is evidence beside the rerank
    score, if that ranks new questions better (`rag.evaluate.evidence`). Raises ConfigError without a reranker,
    DataError where all questions are answerable, or none is.
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
    result = calibrate_evidence(
        _features(serving, queries, known, run_folder),
        answerable,
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
    )
    if "evidence" in result:
        result["evidence"]["reader"] = reader_record(serving.settings, serving.reader)
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


def _features(
    serving: Serving, queries: str | Path, questions: Sequence[Question], run_folder: str | Path | None
) -> list[dict[str, float]]:
    """The features of each question by name, from a run that refuses nothing; {} without a hit."""
    pipeline = make_pipeline(serving, interactive=False)
    pipeline.rerank_threshold = None
    identity = run_identity(serving, queries, generate=False) | {"rerank_threshold": None}
    identity.pop("evidence", None)
    folder = Path(run_folder) if run_folder else _own_run(serving.index_folder, identity)
    corpus = corpus_of(serving.index_folder)
    run_batch(pipeline, questions, corpus, folder, identity, generate=False)
    stored = StoredStages(folder, corpus)
    return [features_of(stored.read(question)) for question in questions]


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
    if "compared" in result:
        lines += _compared_lines(result["compared"], is_kept="evidence" in result)
    used = result.get("evidence", result)
    if used["threshold"] is None:
        return [*lines, f"no threshold refuses within the limits and helps; none is set ({path})"]
    point = next(p for p in used["curve"] if p["threshold"] == used["threshold"])
    figures = ", ".join(f"{name} {point[name]:.3f}" for name in point if name != "threshold")
    return [*lines, f"threshold {used['threshold']:.3f}: {figures}", f"stored in {path}"]


def _compared_lines(compared: dict, *, is_kept: bool) -> list[str]:
    """How well each feature, and all together, tell answerable from unanswerable questions; and what was kept."""

    def shown(value: float | None) -> str:
        return "not known" if value is None else f"{value:.3f}"

    alone = ", ".join(f"{name} {shown(value)}" for name, value in compared["auc"].items())
    crossed = compared["cross_validated"]
    crossed_figures = f"together {shown(crossed['together'])}, {RERANK} {shown(crossed[RERANK])}"
    verdict = (
        "the reader's margin counts beside the rerank score"
        if is_kept
        else "the reader's margin does not help, so the rerank score alone decides"
    )
    return [
        f"AUC of each: {alone}; together {shown(compared['auc_together'])}",
        f"AUC on questions left out of the fit (5-fold cross-validation): {crossed_figures}",
        verdict,
    ]
