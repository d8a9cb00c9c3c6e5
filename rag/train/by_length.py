"""A model made ready for training: on a CPU, rows of similar length run together."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from rag.compute.hardware import default_device, n_threads
from rag.train.run import Schedule

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

ROWS_TOGETHER = 8


def prepare_model(model: Module, transformer: Any, schedule: Schedule) -> None:
    """Set what training needs: threads, float32 weights, dropout, whether word embeddings learn.

    `transformer` is the transformers model within `model`. On a CPU its attention is plain matrix products, because the
    backward pass of the fused kernel is slow there, and rows of similar length run together.
    """
    import torch

    torch.set_num_threads(n_threads())
    model.float()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = schedule.dropout
    if schedule.freeze_embeddings:
        transformer.get_input_embeddings().weight.requires_grad_(False)
    if default_device() == "cpu":
        transformer.set_attn_implementation("eager")
        run_by_length(transformer)


def run_by_length(transformer: Any, rows: int = ROWS_TOGETHER) -> None:
    """Replace the forward pass of a transformers model by one over `rows` rows of similar length at a time.

    Each part is as wide as its longest row, so that little is computed on padding. Outputs have the order and width of
    the inputs, with zeros on the padding. Batches that are padded on the left run as they are.
    """
    import torch

    forward = transformer.forward

    @functools.wraps(forward)
    def by_length(input_ids=None, attention_mask=None, **others):
        if input_ids is None or attention_mask is None or len(input_ids) <= rows or not attention_mask[:, 0].all():
            return forward(input_ids=input_ids, attention_mask=attention_mask, **others)
        width = input_ids.shape[1]
        lengths = attention_mask.sum(dim=1)
        order = lengths.argsort()
        back = order.argsort()  # the place of each row in `order`
        outputs, widths = [], []
        for part in order.split(rows):
            longest = int(lengths[part].max())
            cut = {
                name: value[part, :longest] if torch.is_tensor(value) and value.shape == input_ids.shape else value
                for name, value in {"input_ids": input_ids, "attention_mask": attention_mask, **others}.items()
            }
            outputs.append(forward(**cut))
            widths.append(longest)
        return type(outputs[0])(
            **{
                name: torch.cat([_widened(o[name], own, width) for o, own in zip(outputs, widths, strict=True)])[back]
                for name, value in outputs[0].items()
                if torch.is_tensor(value)
            }
        )

    transformer.forward = by_length


def _widened(values: Tensor, own: int, width: int) -> Tensor:
    """Per-token outputs (n, own, d) with zeros up to `width` tokens; others, as of each row, as they are."""
    import torch

    if values.ndim != 3 or values.shape[1] != own:
        return values
    return torch.nn.functional.pad(values, (0, 0, 0, width - own))
