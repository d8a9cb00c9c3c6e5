"""Choosing on dev questions the score below which a question is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.build.indexes import corpus_of
from rag.build.pipelines import make_pipeline
from rag.config import Settings
from rag.data.questions import Question
from rag.errors import ConfigError, DataError
from rag.files import write_json
from rag.index.calibration import CALIBRATION_FILE
from rag.index.folder import serving_manifest
from rag.models.promoted import serving
from rag.runs.identity import run_identity
from rag.types import CANNOTANSWER


def make_calibration(
    settings: Settings,
    index_folder: str | Path,
    queries: str | Path,
    questions: Sequence[Question],
    run_folder: str | Path | None,
    *,
    min_precision: float,
    max_wrong_refusals: float,
) -> list[str]:
    """Retrieve and rerank dev questions, choose the refusal threshold, store it with the index; returns a summary."""
    import datetime

    from rag.evaluate.calibration import calibrate
    from rag.evaluate.files import read_predictions
    from rag.runs.batch import run_batch

    if not settings.reranker.enabled:
        raise ConfigError("calibration needs rerank scores; leave reranker.enabled = true")
    known = [question for question in questions if question.answer is not None]
    if not any(question.answer == CANNOTANSWER for question in known) or all(
        question.answer == CANNOTANSWER for question in known
    ):
        raise DataError(
            f"{queries} must hold both answerable and unanswerable questions (answer text {CANNOTANSWER!r}) "
            "for a threshold to be chosen between them"
        )
    pipeline = make_pipeline(settings, index_folder, interactive=False)
    identity = run_identity(settings, index_folder, queries, generate=False) | {"rerank_threshold": None}
    run_folder = Path(run_folder) if run_folder else _calibration_run(index_folder, identity)
    pipeline.rerank_threshold = None
    run_batch(pipeline, known, corpus_of(index_folder), run_folder, identity, generate=False)
    rows = {row["qid"]: row for row in read_predictions(run_folder)}
    best = [rows[q.id]["reranked"][0][1] if rows[q.id]["reranked"] else float("-inf") for q in known]
    result = calibrate(
        best,
        [question.answer != CANNOTANSWER for question in known],
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
    )
    result |= {
        "reranker_model": settings.reranker.model,
        "serving": serving(settings.reranker.model),
        "index": serving_manifest(index_folder)[1].fingerprint,
        "queries": str(queries),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    path = Path(index_folder) / CALIBRATION_FILE
    write_json(path, result)
    return _calibration_summary(result, path)


def _calibration_run(index_folder: str | Path, identity: Mapping) -> Path:
    """The index's own folder for the runs of calibrations made like this one; those made otherwise are removed."""
    made_by = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    folder = Path(index_folder) / f"calibration-run-{made_by}"
    for other in Path(index_folder).glob("calibration-run*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _calibration_summary(result: dict, path: Path) -> list[str]:
    lines = [f"{result['n']:,} questions, {result['n_unanswerable']:,} unanswerable; AUC {result['auc']:.3f}"]
    if result["threshold"] is None:
        return [*lines, f"no threshold refuses within the limit and helps; none is set ({path})"]
    point = next(p for p in result["curve"] if p["threshold"] == result["threshold"])
    figures = ", ".join(f"{name} {point[name]:.3f}" for name in point if name != "threshold")
    return [*lines, f"threshold {result['threshold']:.3f}: {figures}", f"stored in {path}"]
