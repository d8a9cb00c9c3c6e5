"""The calibration that an index keeps."""

from __future__ import annotations

from pathlib import Path

from rag.errors import IndexMismatchError
from rag.files import read_json

CALIBRATION_FILE = "calibration.json"


def read_calibration(index_folder: str | Path) -> dict | None:
    path = Path(index_folder) / CALIBRATION_FILE
    fix = f"calibrate again: rag calibrate DEV -i {index_folder}"
    return read_json(path, IndexMismatchError, fix=fix) if path.is_file() else None
