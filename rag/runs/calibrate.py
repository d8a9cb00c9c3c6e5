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
from rag.evaluate.calibration_words import choice_in_words, too_few
from rag.evaluate.evidence import calibrate_evidence
from rag.evidence import RERANK, features_of
from rag.index.calibration import write_calibration
from rag.pipeline import Pipeline
from rag.runs.batch import run_batch
from rag.runs.stored import StoredStages
from rag.types import CANNOTANSWER, Response

OWN_RUN = "calibration-run"


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
    require_reranker(serving)
    known = [question for question in questions if question.answer is not None]
    answerable = [question.answer != CANNOTANSWER for question in known]
    if all(answerable) or not any(answerable):
        raise DataError(
            f"{queries} must hold both answerable and unanswerable questions (answer text {CANNOTANSWER!r}) "
            "for a threshold to be chosen between them"
        )
    identity = calibration_identity(serving, queries)
    folder = Path(run_folder) if run_folder else own_folder(serving.index_folder, OWN_RUN, identity)
    responses = unrefused(make_pipeline(serving, interactive=False), known, serving, folder, identity)
    result = calibrate_evidence(
        [features_of(response) for response in responses],
        answerable,
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
    )
    more = f"add questions to {queries} and calibrate again"
    return [*too_few(result, more), *store_calibration(serving, result, {"queries": str(queries)})]


def require_reranker(serving: Serving) -> None:
    """Raises ConfigError where nothing scores what a question is refused by."""
    if serving.reranker is None:
        raise ConfigError(
            "calibration needs rerank scores; leave reranker.enabled = true, and over other than English "
            "documents name a multilingual one with --set reranker.model=NAME"
        )


def store_calibration(serving: Serving, result: dict, made_from: Mapping) -> list[str]:
    """Store what was chosen with the index, and beside it what made it; returns a summary."""
    for name in {"evidence", "elsewhere"} & result.keys():
        result[name]["reader"] = reader_record(serving.settings, serving.reader)
    result |= {
        "reranker_model": serving.settings.reranker.model,
        "serving": serving.reranker,
        "index": serving.manifest.fingerprint,
        **made_from,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return _summary(result, serving, write_calibration(serving.index_folder, result))


def calibration_identity(serving: Serving, queries: str | Path) -> dict:
    """What makes the run of a calibration, which refuses nothing."""
    identity = run_identity(serving, queries, generate=False) | {"rerank_threshold": None}
    identity.pop("evidence", None)
    return identity


def unrefused(
    pipeline: Pipeline,
    questions: Sequence[Question],
    serving: Serving,
    folder: Path,
    identity: dict,
    *,
    reuse: Sequence[Path] = (),
) -> list[Response]:
    """What each question finds, up to the reader, in a run that refuses nothing; `reuse` as in `run_batch`."""
    pipeline.rerank_threshold = None
    corpus = corpus_of(serving.index_folder)
    run_batch(pipeline, questions, corpus, folder, identity, generate=False, reuse=reuse)
    stored = StoredStages(folder, corpus)
    return [stored.read(question) for question in questions]


def own_folder(index_folder: Path, name: str, identity: Mapping) -> Path:
    """The index's own folder of this name for what is made like this; those of the name made otherwise are removed."""
    made_by = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    folder = index_folder / f"{name}-{made_by}"
    for other in index_folder.glob(f"{name}*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _summary(result: dict, serving: Serving, path: Path) -> list[str]:
    found = "not known" if result["auc"] is None else f"{result['auc']:.3f}"
    lines = [f"{result['n']:,} questions, {result['n_unanswerable']:,} unanswerable; AUC {found}"]
    if "compared" in result:
        lines += _compared_lines(result["compared"], is_kept="evidence" in result)
    if "unanswerable_share" in result:
        lines.append(f"precision counts as if {result['unanswerable_share']:.0%} of the questions were unanswerable")
    used = result.get("evidence", result)
    if used["threshold"] is not None:
        point = next(p for p in used["curve"] if p["threshold"] == used["threshold"])
        figures = ", ".join(f"{name} {point[name]:.3f}" for name in point if name != "threshold")
        lines.append(f"threshold {used['threshold']:.3f}: {figures}")
    lines += choice_in_words(result)
    abstain = serving.settings.abstain
    for name in ("rerank_threshold", "strictness"):
        if (value := getattr(abstain, name)) is not None:
            lines.append(f"abstain.{name} = {value:g} in your settings goes before it")
            break
    if used["threshold"] is None:
        return [*lines, f"no threshold refuses within the limits and helps; none is set ({path})"]
    return [*lines, f"stored in {path}"]


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
