"""A checkpoint in CTranslate2's own format: converted once, kept by the hash of what it was made from."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from rag.compute.one_at_a_time import TORCH
from rag.compute.remembered import remembered_weights_sha256
from rag.errors import ModelError
from rag.files import file_sha256, json_if_sound
from rag.generate.engines.chat_tokenizer import save_chat_tokenizer
from rag.models.cache import make_once, model_folder
from rag.progress import say

# Architectures whose answers were compared with those of transformers. The converter knows more.
COMPARED = ("qwen2", "qwen3")
FIX = "use --set generator.kind=transformers"


def checkpoint_sha256(folder: Path, weights: str) -> str:
    """A hash of everything that decides an answer: weights, configuration, tokenizer and chat template."""
    small = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jinja"))
    return hashlib.sha256(json.dumps([weights, *(file_sha256(path) for path in small)]).encode()).hexdigest()


def is_compared(folder: Path) -> bool:
    """Whether `auto` may take CTranslate2 for this checkpoint: an architecture that was compared, plain attention."""
    config = json_if_sound(folder / "config.json") or {}
    rotation = config.get("rope_parameters") or config.get("rope_scaling") or {}
    is_plain = not config.get("use_sliding_window") and rotation.get("rope_type", "default") == "default"
    return config.get("model_type") in COMPARED and is_plain and "quantization_config" not in config


def converted(folder: Path, cache_root: Path, quantization: str) -> Path:
    """The folder of the converted checkpoint; converted now if it is not there. Several processes convert once.

    `quantization` is CTranslate2's word for how weights are stored: int8_float32 or float32. Raises ModelError where
    the checkpoint cannot be converted.
    """
    name = _name(folder, cache_root, quantization)

    def convert(work: Path) -> tuple[Path, dict[str, Any]]:
        say(f"converting {folder.name} for CTranslate2 (once)")
        target = work / "converted"
        with TORCH:
            _convert(folder, target, quantization)
            save_chat_tokenizer(folder, target)
        return target, {"model": str(folder), "quantization": quantization}

    return make_once(cache_root, name, convert)


def forget(folder: Path, cache_root: Path, quantization: str) -> None:
    """Delete a conversion, which cannot be read."""
    shutil.rmtree(model_folder(cache_root, _name(folder, cache_root, quantization)), ignore_errors=True)


def _name(folder: Path, cache_root: Path, quantization: str) -> str:
    sha256 = checkpoint_sha256(folder, remembered_weights_sha256(folder, cache_root))
    return f"{sha256[:16]}-ctranslate2-{quantization}"


def _convert(folder: Path, target: Path, quantization: str) -> None:
    from rag.compute.quiet import quiet_transformers

    quiet_transformers()
    from ctranslate2.converters import TransformersConverter

    try:
        TransformersConverter(str(folder), low_cpu_mem_usage=True).convert(str(target), quantization=quantization)
    except (OSError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # no space left, no permission
        raise ModelError(f"CTranslate2 cannot read {folder}: {error}; {FIX}") from error
