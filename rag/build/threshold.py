"""What a question is refused below: set, calibrated, or the default."""

from __future__ import annotations

import functools
from pathlib import Path

from rag import fixes
from rag.config import Settings
from rag.config.sections import RerankerSettings
from rag.evidence import EvidenceModel, EvidenceThreshold, Threshold
from rag.index.calibration import read_calibration
from rag.index.manifest import Manifest
from rag.progress import say


def rerank_threshold(settings: Settings, calibration: dict | None, reranker: str | None) -> Threshold | None:
    """The rerank logit, or the score by all evidence, below which a question is refused; None where none is by score.

    In this order: the value in the settings; the calibration that applies, at the `strictness` of the settings (0 never
    refuses), by all evidence where it holds a model of that; the default, for the packaged reranker alone, since every
    reranker has a scale of its own.
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
    """The calibration that the threshold comes from: one made for these passages and this reranker.

    `manifest` is of the passages that are searched, `reranker` and `reader` the models that serve. None where the
    settings give a threshold, where none was made, or where it was made for something else. A model of all evidence is
    left out of it where it was made with another reader: the rerank logit decides alone then.
    """
    if reranker is None or settings.abstain.rerank_threshold is not None:
        return None
    calibration, named = read_calibration(index_folder), settings.reranker.model
    if calibration is None:
        return None
    if calibration["index"] != manifest.fingerprint:
        _say_outdated(index_folder, manifest.fingerprint)
        return None
    is_of_model = calibration["reranker_model"] == named and calibration.get("serving", named) == reranker
    if not is_of_model:
        return None
    if "evidence" in calibration and calibration["evidence"]["reader"] != reader_record(settings, reader):
        if reader is not None:
            _say_other_reader(index_folder)
        return {key: value for key, value in calibration.items() if key != "evidence"}
    return calibration


def reader_record(settings: Settings, reader: str | None) -> dict | None:
    """What shapes the margins that a model of evidence was fitted to; None where no reader serves."""
    if reader is None:
        return None
    return {"model": settings.reader.model, "serving": reader, "depth": settings.reader.depth}


@functools.cache
def _say_other_reader(index_folder: str | Path) -> None:
    say(
        f"{index_folder} was calibrated with another reader, so the rerank score alone decides on refusals; calibrate "
        f"again: {fixes.calibrate(index_folder)}"
    )


@functools.cache
def _say_outdated(index_folder: str | Path, fingerprint: str) -> None:
    """Once for each state of an index: the chat looks at its calibration with every question."""
    say(f"{index_folder} was calibrated before it changed; calibrate again: {fixes.calibrate(index_folder)}")
