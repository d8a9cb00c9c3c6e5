"""How large a language model is, without loading it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BILLIONS = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![A-Za-z0-9])", re.I)
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


def count_parameters(config: Mapping[str, Any]) -> int | None:
    """The parameters of a decoder by the shapes in its config.json; None where they are missing.

    Counted are embeddings, attention, and the three matrices of a gated MLP, of every expert where there are several:
    all but a thousandth in Llama, Qwen, Mistral, Gemma and their like. The shapes count the same for a checkpoint whose
    weights are quantized, in which the files hold fewer numbers than the model has.
    """
    shapes = config.get("text_config", config)  # where the model also sees pictures
    try:
        hidden, layers, vocabulary = (int(shapes[key]) for key in ("hidden_size", "num_hidden_layers", "vocab_size"))
        heads, inner = int(shapes["num_attention_heads"]), int(shapes["intermediate_size"])
        key_heads = int(shapes.get("num_key_value_heads") or heads)
        head = int(shapes.get("head_dim") or hidden // heads)
        experts = next((int(shapes[key]) for key in _EXPERTS if shapes.get(key)), 1)
        if experts > 1:
            inner = int(shapes.get("moe_intermediate_size") or inner)
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    attention = 2 * hidden * head * (heads + key_heads)
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings", True) else 2)
    return embeddings + layers * (attention + 3 * hidden * inner * experts)


def billions_named(name: str) -> float | None:
    """The billions of parameters that a model's name states, as in `org/Some-7B-Instruct`; None where it states none.

    Of several numbers the largest counts: `30B-A3B` are 30 billions, of which 3 are active.
    """
    found = _BILLIONS.findall(name.rsplit("/", 1)[-1])
    return max((int(times or 1) * float(number) for times, number in found), default=None)
