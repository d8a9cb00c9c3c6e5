"""What a question is refused below: set, calibrated, or the default."""

from __future__ import annotations

import functools
from pathlib import Path

from rag import fixes
from rag.config import Settings
from rag.errors import ModelError
from rag.evidence import USUAL_SCALE, EvidenceModel, EvidenceThreshold, MatchScale, Threshold
from rag.files import read_json
from rag.index.calibration import is_written, read_calibration
from rag.index.manifest import Manifest
from rag.models.adapters import packaged_adapter
from rag.models.beside import CALIBRATION, file_beside
from rag.models.catalog import UNTUNED_RERANKER
from rag.progress import say

STRONG_RECALL = 0.8
"""The share of unanswerable questions whose best passage scores below a strong match."""

WEIGHTS_CHARACTERS = 16


def rerank_threshold(settings: Settings, calibration: dict | None, reranker: str | None) -> Threshold | None:
    """The rerank logit, or the score by all evidence, below which a question is refused; None where none is by score.

    In this order: the value in the settings; the calibration that applies, at the `strictness` of the settings (0 never
    refuses), by all evidence where it holds a model of that; without one the default, for the untuned packaged reranker
    alone, since every reranker has a scale of its own.
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
    if reranker != UNTUNED_RERANKER or never_refuses:
        return None
    return settings.abstain.uncalibrated_threshold


def match_scale(calibration: dict | None, reranker: str | None) -> MatchScale | None:
    """From which rerank logits on the page calls a passage a strong match, and a likely one.

    By the calibration that applies: likely is what a question would not be refused below, strong what the best passage
    of few unanswerable questions reaches. Without one that of the untuned packaged reranker; None for others, since
    every reranker has a scale of its own, and where none is used.
    """
    if calibration and (likely := calibration["threshold"]) is not None:
        few = [point["threshold"] for point in calibration["curve"] if point["abstain_recall"] >= STRONG_RECALL]
        return MatchScale(max([likely, *few[:1]]), likely)
    return USUAL_SCALE if reranker == UNTUNED_RERANKER else None


def applying_calibration(
    settings: Settings, index_folder: str | Path, manifest: Manifest, reranker: str | None, reader: str | None = None
) -> dict | None:
    """The calibration that the threshold comes from: the index's own where it fits, else the one beside a model.

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
    if not _is_of_reranker(calibration, reranker):
        _say_other_reranker(index_folder, str(calibration["reranker_model"]), is_written(calibration))
        return None
    if "evidence" in calibration and calibration["evidence"]["reader"] != reader_record(settings, reader):
        if reader is not None:
            _say_other_reader(index_folder, is_written(calibration))
        return {key: value for key, value in calibration.items() if key != "evidence"}
    return calibration


def calibration_beside(settings: Settings, reranker: str, reader: str | None) -> dict | None:
    """The calibration that is kept beside the reranker or the reader, for every index without one of its own.

    It was made on other documents, so that it is a start. None where there is none, or another reranker or depth
    serves than those that it was made with. Raises ModelError where a file is damaged.
    """
    for model in filter(None, (reranker, reader)):
        file = file_beside(model, CALIBRATION, settings.models.source)
        if file is None:
            continue
        calibration = read_json(file, ModelError, fix="get the model again")
        try:
            serving = reader_record(settings, reader)
            # A reader's own calibration does not name it.
            made_with = {**(serving or {} if model == reader else {}), **calibration["evidence"]["reader"]}
            if _is_of_reranker(calibration, reranker):
                if made_with == serving:
                    return calibration
                if model == reranker:  # its logit decides alone where another reader serves, or none
                    return {key: value for key, value in calibration.items() if key != "evidence"}
        except (KeyError, TypeError) as error:
            raise ModelError(f"{file} holds no calibration of a reader's evidence; get the model again") from error
    return None


def _is_of_reranker(calibration: dict, reranker: str) -> bool:
    """Whether a calibration was made with the reranker that serves, whatever it was promoted in the place of."""
    return calibration.get("serving", calibration["reranker_model"]) == reranker


def reader_record(settings: Settings, reader: str | None) -> dict | None:
    """What shapes the margins that a model of evidence was fitted to; None where no reader serves.

    An adapter of this package keeps its name when it is trained further, so its weights are a part of it.
    """
    if reader is None:
        return None
    record = {"model": settings.reader.model, "serving": reader, "depth": settings.reader.depth}
    adapter = packaged_adapter(reader)
    return record if adapter is None else {**record, "weights": adapter.merged_sha256[:WEIGHTS_CHARACTERS]}


@functools.cache
def _say_other_reader(index_folder: str | Path, written: bool) -> None:
    say(
        f"{index_folder} was calibrated with another reader, so the rerank score alone decides on refusals; calibrate "
        f"again: {fixes.calibrate(index_folder, written=written)}"
    )


@functools.cache
def _say_other_reranker(index_folder: str | Path, model: str, written: bool) -> None:
    say(
        f"{index_folder} was calibrated with another reranker ({model}), so its calibration does not count; calibrate "
        f"again: {fixes.calibrate(index_folder, written=written)}, or go on with that one: --set reranker.model={model}"
    )


@functools.cache
def _say_outdated(index_folder: str | Path, fingerprint: str, written: bool) -> None:
    """Once for each state of an index: the chat looks at its calibration with every question."""
    again = fixes.calibrate(index_folder, written=written)
    say(f"{index_folder} was calibrated before it changed; calibrate again: {again}")
