"""What a question is refused below: set, calibrated, or the default."""

from __future__ import annotations

import functools
from pathlib import Path

from rag import fixes
from rag.config import Settings
from rag.config.sections import RerankerSettings
from rag.errors import ModelError
from rag.evidence import EvidenceModel, EvidenceThreshold, Threshold
from rag.files import read_json
from rag.index.calibration import is_written, read_calibration
from rag.index.manifest import Manifest
from rag.models.beside import CALIBRATION, file_beside
from rag.progress import say


def rerank_threshold(settings: Settings, calibration: dict | None, reranker: str | None) -> Threshold | None:
    """The rerank logit, or the score by all evidence, below which a question is refused; None where none is by score.

    In this order: the value in the settings; the calibration that applies, at the `strictness` of the settings (0 never
    refuses), by all evidence where it holds a model of that; without one the default, for the packaged reranker alone,
    since every reranker has a scale of its own.
    """
    if reranker is None:
        return None
    if settings.abstain.rerank_threshold is not None:
        return settings.abstain.rerank_threshold
    if calibration is not None:
        from rag.evaluate.calibration import threshold_at

        evidence = calibration.get("evidence")
        if evidence is None:
            return threshold_at(calibration, settings.abstain.strictness)
        value = threshold_at(evidence, settings.abstain.strictness)
        return None if value is None else EvidenceThreshold(value, EvidenceModel.of(evidence))
    never_refuses = settings.abstain.strictness == 0
    if reranker != RerankerSettings().model or never_refuses:
        return None
    return settings.abstain.uncalibrated_threshold


def applying_calibration(
    settings: Settings, index_folder: str | Path, manifest: Manifest, reranker: str | None, reader: str | None = None
) -> dict | None:
    """The calibration that the threshold comes from: the index's own where it fits, else the one beside the reader.

    The index's own was made for these passages and this reranker. A model of all evidence is left out of it where it
    was made with another reader: the rerank logit decides alone then. `manifest` is of the passages that are searched,
    `reranker` and `reader` the models that serve. None where the settings give a threshold, or neither fits.
    """
    if reranker is None or settings.abstain.rerank_threshold is not None:
        return None
    own = _own_calibration(settings, index_folder, manifest, reranker, reader)
    return own if own is not None else calibration_beside(settings, reranker, reader)


def _own_calibration(
    settings: Settings, index_folder: str | Path, manifest: Manifest, reranker: str, reader: str | None
) -> dict | None:
    calibration = read_calibration(index_folder)
    if calibration is None:
        return None
    if calibration["index"] != manifest.fingerprint:
        _say_outdated(index_folder, manifest.fingerprint, is_written(calibration))
        return None
    if not _is_of_reranker(calibration, settings, reranker):
        return None
    if "evidence" in calibration and calibration["evidence"]["reader"] != reader_record(settings, reader):
        if reader is not None:
            _say_other_reader(index_folder, is_written(calibration))
        return {key: value for key, value in calibration.items() if key != "evidence"}
    return calibration


def calibration_beside(settings: Settings, reranker: str, reader: str | None) -> dict | None:
    """The calibration that is kept beside the reader, for every index without one of its own.

    It was made on other documents, so that it is a start. None where there is none, or another reranker or depth
    serves than those that it was made with. Raises ModelError where the file is damaged.
    """
    file = None if reader is None else file_beside(reader, CALIBRATION, settings.models.source)
    if file is None:
        return None
    calibration = read_json(file, ModelError, fix="get the model again")
    try:
        fits = calibration["evidence"]["reader"]["depth"] == settings.reader.depth
        return calibration if fits and _is_of_reranker(calibration, settings, reranker) else None
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file} holds no calibration of a reader's evidence; get the model again") from error


def _is_of_reranker(calibration: dict, settings: Settings, reranker: str) -> bool:
    """Whether a calibration was made with the reranker that is named, and with what serves in its place."""
    named = settings.reranker.model
    return calibration["reranker_model"] == named and calibration.get("serving", named) == reranker


def reader_record(settings: Settings, reader: str | None) -> dict | None:
    """What shapes the margins that a model of evidence was fitted to; None where no reader serves."""
    if reader is None:
        return None
    return {"model": settings.reader.model, "serving": reader, "depth": settings.reader.depth}


@functools.cache
def _say_other_reader(index_folder: str | Path, written: bool) -> None:
    say(
        f"{index_folder} was calibrated with another reader, so the rerank score alone decides on refusals; calibrate "
        f"again: {fixes.calibrate(index_folder, written=written)}"
    )


@functools.cache
def _say_outdated(index_folder: str | Path, fingerprint: str, written: bool) -> None:
    """Once for each state of an index: the chat looks at its calibration with every question."""
    again = fixes.calibrate(index_folder, written=written)
    say(f"{index_folder} was calibrated before it changed; calibrate again: {again}")
