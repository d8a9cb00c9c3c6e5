"""Rows of like length run together."""

from __future__ import annotations

import functools

from rag.compute.hardware import default_device, n_threads
from rag.train.run import Schedule

ROWS_TOGETHER = 8


def prepare(model, transformer, schedule: Schedule) -> None:
    """Set what holds for training alone: threads, float32 weights, dropout, whether word embeddings learn.

    `transformer` is the transformers model within `model`. On a CPU its attention is plain matrix products (the fused
    kernel's backward pass is slow there), and rows of like length run together.
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


def run_by_length(transformer, rows: int = ROWS_TOGETHER) -> None:
    """Let the forward pass of a transformers model run over `rows` rows of like length at a time.

    Each part is as wide as its longest row, so that little is computed on padding; outputs come in the order and width
    of the inputs, with zeros on the padding. Batches that are padded on the left run as they are.
    """
    import torch

    forward = transformer.forward

    @functools.wraps(forward)
    def by_length(input_ids=None, attention_mask=None, **others):
        if input_ids is None or attention_mask is None or len(input_ids) <= rows or not attention_mask[:, 0].all():
            return forward(input_ids=input_ids, attention_mask=attention_mask, **others)
        width, lengths = input_ids.shape[1], attention_mask.sum(dim=1)
        order = lengths.argsort()
        back = order.argsort()
        outputs = []
        for part in order.split(rows):
            longest = int(lengths[part].max())
            cut = {
                name: value[part, :longest] if torch.is_tensor(value) and value.shape == input_ids.shape else value
                for name, value in {"input_ids": input_ids, "attention_mask": attention_mask, **others}.items()
            }
            outputs.append(forward(**cut))
        return type(outputs[0])(
            **{
                name: torch.cat([_widened(output[name], width) for output in outputs])[back]
                for name, value in outputs[0].items()
                if torch.is_tensor(value)
            }
        )

    transformer.forward = by_length


def _widened(values, width: int):
    """Per-token outputs (n, t, d) with zeros up to `width` tokens; per-row outputs (n, d) as they are."""
    import torch

    return torch.nn.functional.pad(values, (0, 0, 0, width - values.shape[1])) if values.ndim == 3 else values
