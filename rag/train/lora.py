"""LoRA on a causal language model with peft: added before training, merged into the weights afterwards."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.compute.hardware import default_device, fastest_precision
from rag.compute.quiet import quiet_transformers
from rag.errors import ModelError
from rag.train.generator_recipes import GeneratorRecipe
from rag.train.telemetry import layer_of

if TYPE_CHECKING:
    from peft import PeftModel
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


def merge_lora(model: PeftModel) -> tuple[PreTrainedModel, dict[str, float]]:
    """(the plain model, whose weights are base plus adapter, in bf16; how far each layer moved: |change| / |base|).

    Sums are taken in fp32 and rounded once.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    sums: dict[str, list[float]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        layer: Any = module
        weight = layer.get_base_layer().weight
        with torch.no_grad():
            change = layer.get_delta_weight("default").float()
            own = sums.setdefault(layer_of(f"{name}."), [0.0, 0.0])
            own[0] += float(change.pow(2).sum())
            own[1] += float(weight.float().pow(2).sum())
            weight.copy_(weight.float() + change)
    plain = model.unload()
    drift = {layer: math.sqrt(change / size) if size else 0.0 for layer, (change, size) in sorted(sums.items())}
    return plain.to(torch.bfloat16), drift
