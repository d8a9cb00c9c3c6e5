"""The loss on answers alone, and what is looked at on dev."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.evaluate.calibration import auc
from rag.train.generator_encoding import IGNORED, collate

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

DEV_BATCH_SIZE = 8


def answer_loss(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The mean over rows of the mean negative log probability of a row's answer tokens.

    Every row counts the same, so that a refusal is not lost beside answers of a hundred words.
    """
    rows, loss, _ = _losses(model, batch)
    return _row_means(rows, loss, len(batch["labels"])).mean()


def answer_logits(model: Any, input_ids: Tensor, at: Tensor) -> Tensor:
    """Logits (n, v) at the n positions that are true in `at` (b, t), in the order of rows.

    The head is given the hidden states of these positions alone. Those of every position of a batch would take more
    memory than the rest of a step: a vocabulary has 150,000 entries.
    """
    head = model.get_base_model().get_output_embeddings()
    chosen = head.register_forward_pre_hook(lambda module, given: (given[0][at][None],))
    try:
        return model(input_ids=input_ids, use_cache=False).logits[0]
    finally:
        chosen.remove()


def generator_figures(model: Any, dev: Dataset, refusal_id: int) -> dict[str, float]:
    """`loss` on dev rows; `refusal_auc` where both kinds are there: how well the first token tells whom to refuse.

    `refusal_id` is the first token of a refusal. The AUC is the chance that an answerable question makes it less likely
    than an unanswerable one does.
    """
    import torch

    order = sorted(range(len(dev)), key=lambda row: len(dev[row]["input_ids"]))
    losses: list[float] = []
    refusing: list[float] = []
    refuses: list[bool] = []
    with torch.no_grad():
        for start in range(0, len(order), DEV_BATCH_SIZE):
            rows = [dev[row] for row in order[start : start + DEV_BATCH_SIZE]]
            batch = {name: tensor.to(model.device) for name, tensor in collate(rows).items()}
            places, loss, logits = _losses(model, batch)
            losses += _row_means(places, loss, len(rows)).tolist()
            first = torch.searchsorted(places, torch.arange(len(rows), device=places.device))
            refusing += logits[first].log_softmax(-1)[:, refusal_id].tolist()
            refuses += [row["refuses"] for row in rows]
    figures = {"loss": float(np.mean(losses))}
    if any(refuses) and not all(refuses):
        scores, is_refusal = -np.asarray(refusing), np.asarray(refuses)
        figures["refusal_auc"] = auc(scores[~is_refusal], scores[is_refusal])
    return figures


def _losses(model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Of the n answer tokens of a batch: their rows (n,), negative log probabilities (n,), and logits (n, v)."""
    from torch.nn.functional import cross_entropy

    labels = batch["labels"][:, 1:]  # a position says the token behind it
    at = labels != IGNORED
    logits = answer_logits(model, batch["input_ids"][:, :-1], at).float()
    return at.nonzero()[:, 0].contiguous(), cross_entropy(logits, labels[at], reduction="none"), logits


def _row_means(rows: Tensor, values: Tensor, n_rows: int) -> Tensor:
    """The mean of the values of each row (n_rows,); every row has one."""
    import torch

    sums = torch.zeros(n_rows, device=values.device).index_add(0, rows, values)
    return sums / torch.bincount(rows, minlength=n_rows)
