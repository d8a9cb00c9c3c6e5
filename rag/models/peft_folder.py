"""A LoRA folder of peft in the form of an adapter, without loading its base.

peft stores `base_model.model.MODULE.lora_A.weight` (r, in) and `lora_B.weight` (out, r); merged, a weight is the base's
plus B @ A times alpha / r, or alpha / sqrt(r) with rsLoRA (https://huggingface.co/docs/peft/developer_guides/checkpoint).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError
from rag.files import read_json
from rag.models.differences import Changes
from rag.models.merge import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<kind>embedding_)?(?P<factor>[AB])(\.weight)?")


def is_peft_folder(folder: Path) -> bool:
    """Whether a folder holds a LoRA of peft."""
    return (folder / CONFIG).is_file()


def peft_changes(base: Path, folder: Path) -> Changes:
    """The changes that a LoRA folder makes to a base. Raises ModelError where they cannot be added to its weights."""
    config = read_json(folder / CONFIG, ModelError)
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        kind = "DoRA" if config.get("use_dora") else config.get("peft_type")
        raise ModelError(f"{folder} is {kind} of peft; only plain LoRA can be added to the weights")
    before, lora = Checkpoint(base), Checkpoint(folder)
    pairs: dict[str, dict[str, Tensor]] = {}
    stored: dict[str, Tensor] = {}
    for key in lora.names():
        name = key.removeprefix(PREFIX)
        if found := FACTOR.fullmatch(name):
            kind = "embedding_" if found["kind"] else ""
            pairs.setdefault(found["module"], {})[kind + found["factor"]] = lora[key]
        elif ".base_layer." in name and _is_the_bases(before, name.replace(".base_layer.", "."), lora[key]):
            continue  # peft saves an embedding table beside its LoRA
        elif "lora_" in name or ".base_layer." in name:
            raise ModelError(f"{folder} holds {key!r}, which cannot be added to a weight")
        else:
            stored.update(_saved_whole(before, name, lora[key]))
    highest = 0
    for module, pair in pairs.items():
        name = _base_name(before, f"{module}.weight", folder)
        b, a = _factors(pair, config, module)
        if before.shape(name) != (b.shape[0], a.shape[1]):
            shape = (b.shape[0], a.shape[1])
            raise ModelError(f"{folder} does not fit {base}: {name} is {before.shape(name)}, its change {shape}")
        stored[f"{name}.b"], stored[f"{name}.a"] = b, a
        highest = max(highest, a.shape[0])
    if not stored:
        raise ModelError(f"{folder} changes no weight")
    return Changes(stored, highest, 1.0)


def _factors(pair: Mapping[str, Tensor], config: Mapping[str, Any], module: str) -> tuple[Tensor, Tensor]:
    """b (out, r) and a (r, in) in fp16, scaled, each column of b about as long as its row of a."""
    import torch

    try:
        if "embedding_A" in pair:  # (r, tokens) and (dimensions, r), of a weight (tokens, dimensions)
            b, a = pair["embedding_A"].T.float(), pair["embedding_B"].T.float()
        elif config.get("fan_in_fan_out"):  # a weight (in, out)
            b, a = pair["A"].T.float(), pair["B"].T.float()
        else:
            b, a = pair["B"].float(), pair["A"].float()
    except KeyError as error:
        raise ModelError(f"{module} has one factor without the other ({error})") from error
    rank = a.shape[0]
    alpha = _for_module(config.get("alpha_pattern"), module, config.get("lora_alpha", rank))
    b = b * (alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)
    # fp16 has few digits below 6e-5: the length is shared by powers of two, which changes nothing else.
    ratio = a.norm(dim=1) / b.norm(dim=0).clamp(min=1e-12)
    power = torch.exp2((ratio.clamp(1e-12, 1e12).log2() / 2).round())
    return (b * power).half().contiguous(), (a / power[:, None]).half().contiguous()


def _for_module(pattern: Mapping[str, float] | None, module: str, default: float) -> float:
    """peft's own rule: the first key that ends the module's name, as a regular expression."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default


def _is_the_bases(before: Checkpoint, name: str, tensor: Tensor) -> bool:
    return name in before and before.shape(name) == tuple(tensor.shape) and bool((before[name] == tensor).all())


def _saved_whole(before: Checkpoint, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A weight or bias that was trained itself: as a difference, or whole where the base has no such."""
    if name in before and before.shape(name) == tuple(tensor.shape):
        return {f"{name}.diff": (tensor.float() - before[name].float()).half()}
    return {f"{name}.whole": tensor.contiguous()}


def _base_name(before: Checkpoint, name: str, folder: Path) -> str:
    """The name in the base's files, which may hold the body alone, or the body with a head."""
    if name in before:
        return name
    ends = [known for known in before.names() if known.endswith(f".{name}") or name.endswith(f".{known}")]
    if len(ends) != 1:
        raise ModelError(f"{folder} changes {name}, which {before.folder} does not have")
    return ends[0]
