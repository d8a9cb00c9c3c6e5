"""What `rag models` shows: a record of every model on this machine, with its source, licence and hashes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rag import fixes
from rag.errors import ModelError
from rag.files import file_sha256, read_json
from rag.models.adapters import packaged_adapters
from rag.models.cache import RECORD, cached_model
from rag.models.resolve import ResolvedModel, rag_home


def cached_models(home: Path | None = None) -> list[dict[str, Any]]:
    """The records of all models that were converted or merged here, with `folder` and `size_mb`, in order of name."""
    folder = (home or rag_home()) / "models"
    records = []
    for path in sorted(folder.glob(f"*/{RECORD}")):
        record = read_json(
            path, ModelError, fix=f"fetch the model again: {fixes.remove(path.parent)} && {fixes.fetch_models()}"
        )
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        records.append({**record, "folder": str(path.parent), "size_mb": round(size / 2**20)})
    return records


def packaged_adapter_records(home: Path | None = None) -> list[dict[str, Any]]:
    """The records of the adapters in this package that are not merged in the cache yet, in order of name."""
    return [
        {**adapter.record(), "notice": "an adapter in this package; its first use merges it with its base"}
        for adapter in packaged_adapters()
        if cached_model(home or rag_home(), adapter.name, adapter=adapter.digest) is None
    ]


def describe(model: ResolvedModel) -> dict[str, Any]:
    """The same record for a model that was not converted here: one from the hub, or a folder."""
    weights = sorted(model.folder.glob("*.safetensors"))
    record: dict[str, Any] = {
        "model": model.name,
        "role": "",
        "source": model.source,
        "folder": str(model.folder),
        "sha256": [_weights_sha256(file) for file in weights],
        "size_mb": round(sum(file.stat().st_size for file in weights) / 2**20),
    }
    if model.source.startswith("hub"):
        record["revision"] = model.folder.name  # the hub's cache names a snapshot by its commit
    card = model.folder / "README.md"
    if card.is_file() and (license_id := _card_license(card)):
        record["license"] = license_id
    return record


def _weights_sha256(file: Path) -> str:
    """The hash of a file. The hub's cache names a large file by it, which saves reading gigabytes."""
    name = file.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else file_sha256(file)


def _card_license(card: Path) -> str | None:
    from huggingface_hub import ModelCard

    try:
        return ModelCard.load(card).data.license
    except (ValueError, OSError):
        return None
