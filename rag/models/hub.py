"""Whole snapshots of models of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag.errors import ModelError
from rag.models.modules import MODULES, Module, read_modules

HUB_FILES = (
    "README.md",
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "*.jinja",
    "*/config.json",
    "*_Dense/pytorch_model.bin",
)
HUB_IGNORED = ("onnx/*", "openvino/*", "tf_*", "flax_*", "*.onnx")


def is_begun(name: str) -> bool:
    """Whether the hub's cache has a folder for a model, told without the hub's client, which takes long to import."""
    from huggingface_hub import constants

    return (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir()


def hub_snapshot(name: str, needs: Sequence[str] = (), *, local_only: bool) -> Path:
    """The folder of a whole snapshot, downloaded unless `local_only`; raises ModelError with the reason for none.

    A snapshot is whole if it holds config.json, weights, and the files in `needs`; one of several modules, if each of
    them has its own.
    """
    if local_only and not is_begun(name):
        raise ModelError(f"{name} is not in the hub's cache")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                name,
                local_files_only=local_only,
                allow_patterns=list(HUB_FILES),
                ignore_patterns=list(HUB_IGNORED),
            )
        )
    # HTTPError is the one of the hub's own HTTP client: a connection cut during a download is one, and no OSError.
    except (HTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(reason[:200] or type(error).__name__) from error
    # A download that was cut off leaves a snapshot without its weights.
    missing = [file for file in needs if not (folder / file).exists()]
    for module in _weighted_modules(folder):
        place = module.folder.relative_to(folder)
        if module.kind not in ("StaticEmbedding", "Dense") and not (module.folder / "config.json").exists():
            missing.append(str(place / "config.json"))
        has_old = module.kind == "Dense" and (module.folder / "pytorch_model.bin").exists()
        if not has_old and not any(module.folder.glob("*.safetensors")):
            missing.append(str(place / "*.safetensors"))
    if missing:
        raise ModelError(f"its snapshot lacks {', '.join(missing)}")
    return folder


def _weighted_modules(folder: Path) -> list[Module]:
    """The modules of a snapshot that have weights; without modules.json, the snapshot itself is the only one."""
    if not (folder / MODULES).is_file():
        return [Module("Transformer", folder, {})]
    return [module for module in read_modules(folder) if module.kind in ("Transformer", "StaticEmbedding", "Dense")]
