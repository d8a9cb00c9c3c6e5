"""The score below which a question is refused: set, calibrated, or the default."""

from __future__ import annotations

import functools
from pathlib import Path

from rag import fixes
from rag.config import Settings
from rag.config.sections import RerankerSettings
from rag.index.calibration import read_calibration
from rag.index.manifest import Manifest
from rag.progress import say


def rerank_threshold(settings: Settings, calibration: dict | None, reranker: str | None) -> float | None:
    """The rerank score (a logit) below which a question is refused; None where no question is refused by score.

    In this order: the value in the settings; the calibration that applies, at the `strictness` of the settings (0 never
    refuses); the default, for the packaged reranker alone, since every reranker has a scale of its own.
    """
    if reranker is None:
        return None
    if settings.abstain.rerank_threshold is not None:
        return settings.abstain.rerank_threshold
    if calibration is not None:
        from rag.evaluate.calibration import threshold_at

        return threshold_at(calibration, settings.abstain.strictness)
    never_refuses = settings.abstain.strictness == 0
    if reranker != RerankerSettings().model or never_refuses:
        return None
    return settings.abstain.uncalibrated_threshold


def applying_calibration(
    settings: Settings, index_folder: str | Path, manifest: Manifest, reranker: str | None
) -> dict | None:
    """The calibration that the threshold comes from: one made for these passages and this reranker.

    `manifest` is of the passages that are searched, `reranker` the model that serves. None where the settings give a
    threshold, where none was made, or where it was made for something else.
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
    return calibration if is_of_model else None


@functools.cache
def _say_outdated(index_folder: str | Path, fingerprint: str) -> None:
    """Once for each state of an index: the chat looks at its calibration with every question."""
    say(f"{index_folder} was calibrated before it changed; calibrate again: {fixes.calibrate(index_folder)}")
