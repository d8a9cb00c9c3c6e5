"""The score below which a question is refused: set, calibrated, or neither."""

from __future__ import annotations

import functools
from pathlib import Path

from rag.config import RerankerSettings, Settings
from rag.index.calibration import read_calibration
from rag.index.folder import serving_manifest
from rag.index.manifest import Manifest
from rag.models.promoted import serving
from rag.progress import say


def rerank_threshold(
    settings: Settings, index_folder: str | Path, *, manifest: Manifest | None = None, served: str | None = None
) -> float | None:
    """The logit below which a question is refused: set, or from the index's calibration, or the uncalibrated default.

    A calibration made with another reranker (one promoted since, too) or for other passages does not apply, nor does
    the default to another reranker, whose scale is its own. `strictness` moves along the calibrated curve; 0 never
    refuses. `manifest` and `served` are of the index and the reranker that are loaded, else of those that serve now.
    """
    if not settings.reranker.enabled:
        return None
    if settings.abstain.rerank_threshold is not None:
        return settings.abstain.rerank_threshold
    served = served or serving(settings.reranker.model)
    calibration = applying_calibration(settings, index_folder, manifest=manifest, served=served)
    if calibration is None:
        is_default = served == RerankerSettings().model
        return settings.abstain.uncalibrated_threshold if is_default and settings.abstain.strictness != 0 else None
    from rag.evaluate.calibration import threshold_at

    return threshold_at(calibration, settings.abstain.strictness)


def applying_calibration(
    settings: Settings, index_folder: str | Path, *, manifest: Manifest | None = None, served: str | None = None
) -> dict | None:
    """The calibration that the threshold comes from: one made for the index's passages and the serving reranker.

    `manifest` and `served` as for `rerank_threshold`.
    """
    if not settings.reranker.enabled or settings.abstain.rerank_threshold is not None:
        return None
    calibration, model = read_calibration(index_folder), settings.reranker.model
    if calibration is None:
        return None
    fingerprint = (manifest or serving_manifest(index_folder)[1]).fingerprint
    if calibration["index"] != fingerprint:
        _say_outdated(index_folder, fingerprint)
        return None
    served = served or serving(model)
    is_of_model = calibration["reranker_model"] == model and calibration.get("serving", model) == served
    return calibration if is_of_model else None


@functools.cache
def _say_outdated(index_folder: str | Path, fingerprint: str) -> None:
    """Once for each state of an index: the chat looks at its calibration with every question."""
    say(f"{index_folder} was calibrated before it changed; calibrate again: rag calibrate DEV -i {index_folder}")
