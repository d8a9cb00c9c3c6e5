"""The calibration that an index keeps: from which rerank score on its questions are answered."""

from __future__ import annotations

from pathlib import Path

from rag import fixes
from rag.errors import DataError, IndexMismatchError
from rag.files import read_json

CALIBRATION_FILE = "calibration.json"


def read_calibration(index_folder: str | Path) -> dict | None:
    """The calibration of an index, None where it has none. Raises IndexMismatchError where it is damaged."""
    path = Path(index_folder) / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        return read_json(path, DataError)
    except DataError as error:
        raise IndexMismatchError(str(error), fixes.calibrate(index_folder), to="calibrate again") from error
