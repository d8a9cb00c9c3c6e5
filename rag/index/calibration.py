"""The calibration that an index keeps: from which rerank score on its questions are answered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rag import fixes
from rag.errors import DataError, IndexMismatchError
from rag.files import read_json
from rag.index.folder import read_current
from rag.index.manifest import read_if_sound
from rag.languages import ENGLISH

CALIBRATION_FILE = "calibration.json"
WRITTEN = "written"
"""What a calibration notes as its `questions` where a model wrote them."""


def read_calibration(index_folder: str | Path) -> dict | None:
    """The calibration of an index, None where it has none. Raises IndexMismatchError where it is damaged."""
    path = Path(index_folder) / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        return read_json(path, DataError)
    except DataError as error:
        raise IndexMismatchError(str(error), fixes.calibrate(index_folder), to="calibrate again") from error


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
