"""The calibration that an index keeps."""

from __future__ import annotations

import json
from pathlib import Path

from rag.errors import IndexMismatchError

CALIBRATION_FILE = "calibration.json"


def read_calibration(index_folder: str | Path) -> dict | None:
    path = Path(index_folder) / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IndexMismatchError(f"{path} is damaged; calibrate again: rag calibrate DEV -i {index_folder}") from error
