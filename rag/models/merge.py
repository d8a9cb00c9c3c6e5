"""Base and adapter become one checkpoint, to the bit the same on every machine."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import DamagedFileError, ModelError
from rag.files import read_json, weights_sha256, write_json
from rag.models.adapters import WEIGHTS, Adapter
from rag.models.query_encoder import NOTE, note_of, passages_of
from rag.progress import say

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("a", "b", "diff", "whole")
# Files of the base that say how text becomes tokens, and how a generator samples. Other copies of a base have others.
ALWAYS_FROM_BASE = (
    *("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model"),
    *("chat_template*", "generation_config.json"),
)


class Checkpoint:
    """The tensors of a checkpoint folder by name, read one at a time. Raises ModelError where it holds none.

    Raises DamagedFileError where a file is no safetensors file, or was cut off.
    """

    def __init__(self, folder: Path):
        from safetensors import SafetensorError, safe_open

        whole = folder / "model.safetensors"
        files = [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
        if not files:
            raise ModelError(f"{folder} holds no weights (*.safetensors)")
        self.folder = folder
        self._where: dict[str, Any] = {}
        for file in files:
            try:
                opened: Any = safe_open(file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise DamagedFileError(f"{file} is damaged or no safetensors file ({error})") from error
            self._where.update(dict.fromkeys(opened.keys(), opened))

    def names(self) -> list[str]:
        return sorted(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._where[name].get_slice(name).get_shape())

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def __getitem__(self, name: str) -> Tensor:
        return self._where[name].get_tensor(name)


def tensors_sha256(tensors: Iterator[tuple[str, Tensor]]) -> str:
    """A hash over names, types, shapes and values, in the order given; how they lie in files does not matter."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        _update(digest, name, tensor)
    return digest.hexdigest()


def _update(digest: Any, name: str, tensor: Tensor) -> None:
    import torch

    digest.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\n".encode())
    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def checkpoint_sha256(folder: Path) -> str:
    """`tensors_sha256` of a checkpoint folder, in order of name."""
    weights = Checkpoint(folder)
    return tensors_sha256((name, weights[name]) for name in weights.names())


def merge_adapter(adapter: Adapter, base: Path, target: Path) -> dict[str, Any]:
    """Write the checkpoint that adapter and base make into `target`; returns its record.

    A base with other weights than those that the adapter was made for is accepted where the shapes fit; a line says so.
    Raises ModelError where they do not fit, DamagedFileError where the result is not what the card says.
    """
    from safetensors.torch import save_file

    is_same_base = checkpoint_sha256(base) == adapter.base_sha256
    notice = "" if is_same_base else _other_base(adapter)
    if notice:
        say(notice)
    merged: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    for name, tensor in merged_tensors(adapter, base):
        _update(digest, name, tensor)
        merged[name] = tensor.contiguous()
    sha256 = digest.hexdigest()
    if is_same_base and sha256 != adapter.merged_sha256:
        raise DamagedFileError(
            f"{adapter.base} and the adapter {adapter.name} make weights with sha256 {sha256}, not the card's "
            f"{adapter.merged_sha256}; get the adapter again"
        )
    target.mkdir(parents=True)
    save_file(merged, str(target / "model.safetensors"), metadata={"format": "pt"})
    _write_files(adapter, base, target)
    return {**adapter.record(), "sha256": sha256, "notice": notice}


def _other_base(adapter: Adapter) -> str:
    return (
        f"{adapter.name} was made for another copy of {adapter.base}, with other values of its weights. It is merged "
        "with this copy, whose shapes fit; the figures of its card may differ a little"
    )


def merged_tensors(adapter: Adapter, base: Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of the merged checkpoint, in order of name. Raises ModelError where base and adapter do not fit.

    Weights keep the base's type. Sums are exact before they are rounded to it: products of fp16 numbers are multiples
    of 2^-48, and float64 holds every such multiple below 32. So the order of a sum, which differs between machines,
    changes no bit.
    """
    _check_sizes(adapter, base)
    weights, changes = Checkpoint(base), Checkpoint(adapter.folder)
    kinds = _kinds(adapter, changes)
    names = {adapter.plan.merged_name(name): name for name in weights.names() if name not in adapter.plan.dropped}
    for name, kind in kinds.items():
        if kind != "whole" and name not in names:
            raise _misfit(adapter, base, f"the base has no {name}")
    for name in sorted(names | kinds):
        match kinds.get(name):
            case None:
                yield name, weights[names[name]]
            case "whole":
                yield name, changes[f"{name}.whole"]
            case _:
                change = _change(changes, name)
                tensor = weights[names[name]]
                if tensor.shape != change.shape:
                    differ = f"{name} is {tuple(tensor.shape)}, the change {tuple(change.shape)}"
                    raise _misfit(adapter, base, differ)
                yield name, (tensor.double() + change).float().to(tensor.dtype)


def _check_sizes(adapter: Adapter, base: Path) -> None:
    config = read_json(base / "config.json", ModelError)
    for key, size in adapter.base_sizes.items():
        if config.get(key) != size:
            raise _misfit(adapter, base, f"{key} is {config.get(key)!r}, not {size!r}")


def _kinds(adapter: Adapter, changes: Checkpoint) -> dict[str, str]:
    """Name in the merged checkpoint -> how it is made: `b` (of two factors), `diff` or `whole`."""
    kinds = {}
    for key in changes.names():
        name, _, kind = key.rpartition(".")
        if kind not in KINDS or not name:
            raise ModelError(f"{adapter.folder / WEIGHTS} is no adapter of this kind: it holds {key!r}")
        if kind in "ab" and f"{name}.{'b' if kind == 'a' else 'a'}" not in changes:
            raise DamagedFileError(f"{adapter.folder / WEIGHTS} holds {key!r} without its other factor")
        kinds[name] = "b" if kind == "a" else kind
    return kinds


def _change(changes: Checkpoint, name: str) -> Tensor:
    """What is added to a weight, in float64."""
    if f"{name}.diff" in changes:
        return changes[f"{name}.diff"].double()
    a, b = changes[f"{name}.a"], changes[f"{name}.b"]
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise DamagedFileError(f"the factors of {name} do not fit: {tuple(b.shape)} and {tuple(a.shape)}")
    return b.double() @ a.double()


def _misfit(adapter: Adapter, base: Path, differ: str) -> ModelError:
    return ModelError(f"the adapter {adapter.name} does not fit {base}, found for its base {adapter.base}: {differ}")


def _write_files(adapter: Adapter, base: Path, target: Path) -> None:
    """Everything beside the weights: the base's files, its changed configuration, the adapter's own files."""
    plan = adapter.plan
    places = {path.name for pattern in ALWAYS_FROM_BASE for path in base.glob(pattern)}
    for place in sorted(places | set(plan.base_files)):
        if (base / place).is_file():
            _copy(base / place, target / place)
    config: Mapping[str, Any] = read_json(base / "config.json", ModelError)
    kept = {key: value for key, value in config.items() if key not in plan.config_dropped}
    for place, path in adapter.files().items():
        _copy(path, target / place)
    if (passages := passages_of(target)) is not None:  # a question encoder goes with this copy of its base
        write_json(target / NOTE, note_of({**passages, "weights_sha256": weights_sha256(base)}))
    write_json(target / "config.json", {**kept, **plan.config})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
