"""LoRA on a causal language model with peft: added before training, merged into the weights afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.compute.hardware import default_device, fastest_precision
from rag.compute.quiet import quiet_transformers
from rag.errors import ModelError
from rag.train.drift import Sums, by_layer, layer_of
from rag.train.generator_recipes import GeneratorRecipe

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel


def load_causal(base: str | Path) -> PreTrainedModel:
    """The checkpoint in the precision that it is trained in: bf16 where the hardware multiplies it, else fp32.

    Raises ModelError where it is no causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    device = default_device()
    dtype = torch.bfloat16 if fastest_precision(device) == "bf16" else torch.float32
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=dtype)
    except (OSError, ValueError) as error:
        raise ModelError(f"{base} cannot be loaded as a causal language model: {error}") from error
    return model.to(device)


def add_lora(model: PreTrainedModel, recipe: GeneratorRecipe) -> PeftModel:
    """The model with an adapter on every linear layer of its last `recipe.layers` layers; nothing else learns.

    What lies below needs no gradients, so that nothing of it is kept for the backward pass. Raises ModelError where the
    model's layers have no linear layers.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    numbers = sorted({layer_of(f"{name}.") for name in names if layer_of(f"{name}.").startswith("layer ")})
    if not numbers:
        raise ModelError(f"{type(model).__name__} has no layers of linear layers, to which adapters could be added")
    chosen = set(numbers[-recipe.layers :])  # all of them where it is 0, or more than there are
    # The same seed, the same start: only B begins with zeros, A is drawn.
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=[name for name in names if layer_of(f"{name}.") in chosen],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def lora_sums(model: PeftModel) -> Sums:
    """How far the adapters have moved each layer that has one, as `rag.train.drift` counts it."""
    import torch

    sums: Sums = {}
    with torch.no_grad():
        for name, layer in _adapted(model):
            _add(sums, name, layer.get_delta_weight("default").float(), layer.get_base_layer().weight)
    return sums


def merge_lora(model: PeftModel) -> tuple[PreTrainedModel, dict[str, float]]:
    """(the plain model, whose weights are base plus adapter, in bf16; how far each layer moved: |change| / |base|).

    Sums are taken in fp32 and rounded once.
    """
    import torch

    sums: Sums = {}
    for name, layer in _adapted(model):
        weight = layer.get_base_layer().weight
        with torch.no_grad():
            change = layer.get_delta_weight("default").float()
            _add(sums, name, change, weight)
            weight.copy_(weight.float() + change)
    plain = model.unload()
    return plain.to(torch.bfloat16), by_layer(sums)


def _adapted(model: PeftModel) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]


def _add(sums: Sums, name: str, change: Tensor, weight: Tensor) -> None:
    own = sums.setdefault(layer_of(f"{name}."), [0.0, 0.0])
    own[0] += float(change.pow(2).sum())
    own[1] += float(weight.float().pow(2).sum())
