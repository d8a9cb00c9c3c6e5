"""What the files of a checkpoint say: its chain of sentence-transformers modules, its positions, its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rag.compute.reading import own_code_sentence
from rag.errors import ModelError
from rag.files import read_json

MODULES = "modules.json"

# The names that older versions of sentence-transformers gave to the settings of a Transformer module.
_TRANSFORMER_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# Their positions are counted from behind the padding token's number.
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text"}
_OTHER_WEIGHTS = ("*.onnx", "*.gguf", "*.xml", "*.tflite", "*.h5", "*.msgpack")


@dataclass(frozen=True, slots=True)
class Module:
    """One of a checkpoint's modules: the name of its class, its folder, and its settings."""

    kind: str
    folder: Path
    settings: Mapping[str, Any]


def read_modules(folder: Path) -> list[Module]:
    """The modules that modules.json names, in order; at least one.

    Raises ModelError where the file is damaged, or a module runs by code of its own.
    """
    modules = [_module(folder, row) for row in _module_rows(folder)]
    if not modules:
        raise ModelError(f"{folder / MODULES} names no module; fetch the model again")
    return modules


def most_positions(folder: Path) -> int | None:
    """The most tokens that the body in a folder can take, by its config.json; None where it does not say."""
    config = settings_in(folder / "config.json")
    config = {**config, **(config.get("text_config") or {})}
    most = config.get("max_position_embeddings")
    if not isinstance(most, int) or most <= 0:
        return None
    if config.get("model_type") in _OFFSET_POSITIONS:
        most -= int(config.get("pad_token_id") or 0) + 1
    return most


def check_weights(folder: Path) -> None:
    """Raises ModelError where a folder holds its weights in another form alone than is read."""
    if not any(path.suffix in (".safetensors", ".bin") for path in folder.rglob("*")):
        others = sorted({path.suffix for pattern in _OTHER_WEIGHTS for path in folder.rglob(pattern)})
        if others:
            raise ModelError(
                f"{folder} holds its weights as {', '.join(others)} alone, which are not read; name the checkpoint "
                "that they were made from, with *.safetensors"
            )


def settings_in(file: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where it is not there; raises ModelError where it is damaged."""
    return read_json(file, ModelError, default={})


def _module_rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / MODULES
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error}); fetch the model again") from error
    if not isinstance(rows, list) or not all(isinstance(r, dict) and {"path", "type"} <= r.keys() for r in rows):
        raise ModelError(f"{path} is damaged (it holds no list of modules); fetch the model again")
    return rows


def _module(folder: Path, row: Mapping[str, Any]) -> Module:
    kind, path = str(row["type"]), PurePosixPath(str(row["path"]))
    if not kind.startswith("sentence_transformers."):
        raise ModelError(own_code_sentence(folder))
    if path.is_absolute() or ".." in path.parts:
        raise ModelError(f"{folder / MODULES} names a module outside the checkpoint; fetch the model again")
    kind = kind.rsplit(".", 1)[-1]
    place = folder / path
    if kind == "Transformer":
        files = [place / name for name in _TRANSFORMER_SETTINGS]
        settings = next((found for file in files if (found := settings_in(file))), {})
    else:
        settings = settings_in(place / "config.json")
    return Module(kind, place, settings)
