"""What is known of models: those that the settings name and those in the caches."""

from __future__ import annotations

from pathlib import Path

from rag.build.parts import ENCODER_FILES, find_generator_model
from rag.config import Settings
from rag.models.adapters import is_adapter
from rag.models.promoted import all_promoted
from rag.models.records import cached_models, describe, packaged_adapter_records
from rag.models.resolve import ResolvedModel, cached_on_hub, resolve

MADE_HERE = ("package index", "adapter")
"""Sources of models that have a record in the cache."""


def list_models(settings: Settings, *, fetch: bool) -> list[dict]:
    """Records of the models in the caches; with `fetch`, every model that the settings name is brought there first."""
    roles = {
        settings.encoder.model: "retriever",
        settings.reranker.model: "reranker",
        settings.scorer.model: "answer scorer",
    }
    if settings.reader.enabled:
        roles[settings.reader.model] = "reader"
    if settings.generator.kind != "server":
        roles[settings.generator.model] = "generator"
    found: dict[str, ResolvedModel] = {}
    for name, role in roles.items():
        model = _fetched(settings, name, role) if fetch else _local(name)
        if model is not None:
            found[model.name if fetch and role == "generator" else name] = model
    records = {record["model"]: record for record in (*cached_models(), *packaged_adapter_records())}
    for name, model in found.items():
        if model.source not in MADE_HERE:
            records[name] = {**describe(model), "role": roles.get(name, "")}
    for name, folders in all_promoted().items():
        if name in records:
            records[name]["notice"] = f"{folders[-1]}, promoted, serves in its place"
    return list(records.values())


def _fetched(settings: Settings, name: str, role: str) -> ResolvedModel:
    if role == "generator":
        return find_generator_model(settings)  # the packaged one, where the hub cannot be reached
    return resolve(name, source=settings.models.source, needs=() if role in ("reranker", "reader") else ENCODER_FILES)


def _local(name: str) -> ResolvedModel | None:
    """A folder, or what is in a cache of the hub. An adapter is not merged for this."""
    if not Path(name).is_dir():
        return cached_on_hub(name)
    return None if is_adapter(Path(name)) else resolve(name)
