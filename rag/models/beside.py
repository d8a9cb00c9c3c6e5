"""Small files that lie beside a model's weights: the prompt of a generator, the calibration of a reader."""

from __future__ import annotations

from pathlib import Path

from rag.models.adapters import FILES, is_adapter, packaged_adapter
from rag.models.cache import cached_model
from rag.models.resolve import cached_on_hub, rag_home

CALIBRATION = "rag_calibration.json"
"""Beside a reader: what `rag calibrate` made with it, for every index that has no calibration of its own."""


def file_beside(model: str, name: str, source: str) -> Path | None:
    """The file `name` in a model's folder, or in the adapter that the model is made of; None where there is none.

    `model` is a name or a folder, `source` where models come from (`models.source`). No model is fetched for it.
    """
    if Path(model).expanduser().is_dir():
        return _in(Path(model).expanduser(), name)
    if (adapter := packaged_adapter(model)) is not None:
        return adapter.files().get(name)
    if source in ("auto", "hub") and (cached := cached_on_hub(model)) is not None:
        return _in(cached.folder, name)
    if source in ("auto", "packages") and (made := cached_model(rag_home(), model)) is not None:
        return _in(made, name)
    return None


def _in(folder: Path, name: str) -> Path | None:
    file = (folder / FILES if is_adapter(folder) else folder) / name
    return file if file.is_file() else None
