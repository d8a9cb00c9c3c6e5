"""The calibration that an index keeps: from which rerank score on its questions are answered."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rag import fixes
from rag.errors import DataError, IndexMismatchError
from rag.files import SEAL, is_unbroken, read_json, sealed, write_json
from rag.index.folder import read_current
from rag.index.manifest import read_if_sound
from rag.languages import ENGLISH

CALIBRATION_FILE = "calibration.json"
WRITTEN = "written"
"""What a calibration notes as its `questions` where a model wrote them."""


def read_calibration(index_folder: str | Path) -> dict | None:
    """The calibration of an index, None where it has none. Raises IndexMismatchError where it is damaged."""
    path = Path(index_folder) / CALIBRATION_FILE
    if not os.path.lexists(path):
        return None
    try:
        stored = read_json(path, DataError)
        if not is_unbroken(stored) or not _is_calibration(stored):
            raise DataError(f"{path} is damaged (it is no calibration, or not as it was written)")
    except DataError as error:
        # Set aside first: a calibration is read before another is made.
        fix = f"{fixes.set_aside(path)} && {fixes.calibrate(index_folder)}"
        raise IndexMismatchError(str(error), fix, to="calibrate again") from error
    return {key: value for key, value in stored.items() if key != SEAL}


def write_calibration(index_folder: str | Path, calibration: Mapping) -> Path:
    """Store a calibration with an index; returns its file."""
    path = Path(index_folder) / CALIBRATION_FILE
    write_json(path, sealed(calibration))
    return path


def _is_calibration(stored: Mapping) -> bool:
    """Whether a calibration holds what a threshold is taken from, of the right types."""
    if not all(isinstance(stored.get(name), str) for name in ("index", "reranker_model")) or not _is_curve(stored):
        return False
    evidence = stored.get("evidence")
    return evidence is None or (isinstance(evidence, Mapping) and _is_curve(evidence) and _is_model(evidence))


def _is_curve(stored: Mapping) -> bool:
    curve, threshold = stored.get("curve"), stored.get("threshold", "")
    points = isinstance(curve, list) and all(isinstance(p, dict) and _is_number(p.get("threshold")) for p in curve)
    return points and (threshold is None or _is_number(threshold))


def _is_model(stored: Mapping) -> bool:
    """Whether the numbers of `rag.evidence.EvidenceModel` are there, one for each feature."""
    lists = [stored.get(name) for name in ("features", "mean", "scale", "weights")]
    if not all(isinstance(values, list) and len(values) == len(lists[0] or ()) for values in lists):
        return False
    numbers = [value for values in lists[1:] for value in values or ()]
    return "reader" in stored and all(map(_is_number, [*numbers, stored.get("bias")])) and 0 not in (lists[2] or ())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_written(calibration: Mapping) -> bool:
    """Whether a model wrote the questions that a calibration was made with."""
    return calibration.get("questions") == WRITTEN


def uncalibrated_lines(index_folder: str | Path) -> list[str]:
    """What to do with an index that has no calibration; nothing where it has one, or is of no use by default.

    So it is over another language than English (`rag.build.english`).
    """
    manifest = read_if_sound(read_current(Path(index_folder)))
    if (Path(index_folder) / CALIBRATION_FILE).is_file() or (manifest is not None and manifest.language != ENGLISH):
        return []
    how = fixes.calibrate(index_folder, written=True)
    return [f"when to refuse is not yet chosen for these documents; the generator can ask about them (minutes): {how}"]
