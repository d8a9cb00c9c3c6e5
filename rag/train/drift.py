"""How far a model has moved away from its base: |after - before| / |before|, of each layer and of all weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Sums = dict[str, list[float]]
"""Layer -> [the sum of the squares of the changes, the sum of the squares of the weights]."""
DRIFT = "drift"
WORD_EMBEDDINGS = ("shared", "wte", "wpe")
"""What T5 and GPT call their word embeddings."""


def layer_drift(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """Layer -> the norm of the change of its weights over their norm; layers in their order."""
    return by_layer(layer_sums(before, after))


def layer_sums(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Sums:
    """The sums of each layer, from the weights of both by name."""
    sums: Sums = {}
    for name, weights in before.items():
        old = weights.float()
        own = sums.setdefault(layer_of(name), [0.0, 0.0])
        own[1] += float(old.pow(2).sum())
        if after[name].data_ptr() != weights.data_ptr():  # what does not learn is the same memory
            own[0] += float((after[name].to(old) - old).pow(2).sum())
    return sums


def by_layer(sums: Sums) -> dict[str, float]:
    """Layer -> its drift; layers in their order."""
    return {layer: _ratio(*own) for layer, own in sorted(sums.items())}


def logged_drift(sums: Sums) -> dict[str, float]:
    """What the log holds: `drift` of all weights together, and `drift/LAYER` of each layer."""
    whole = [sum(own[n] for own in sums.values()) for n in (0, 1)]
    return {DRIFT: _ratio(*whole), **{f"{DRIFT}/{layer}": value for layer, value in by_layer(sums).items()}}


def _ratio(change: float, size: float) -> float:
    return math.sqrt(change / size) if size else 0.0


def layer_of(parameter: str) -> str:
    """`layer 07`, `embeddings` or `head`, by the name of a parameter."""
    if found := re.search(r"(?:blocks?|layers?|h)\.(\d+)\.", parameter):
        return f"layer {int(found[1]):02d}"
    is_embedding = "embed" in parameter or any(part in WORD_EMBEDDINGS for part in parameter.split("."))
    return "embeddings" if is_embedding else "head"
