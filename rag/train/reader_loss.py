"""The span reader's loss: start and end are each one choice among all tokens of the pair, [CLS] meaning null.

Where the answer stands in several places, each of them is right: the loss takes the logarithm of the sum of their
probabilities (marginal likelihood; Clark and Gardner 2018, https://arxiv.org/abs/1710.10723).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def span_loss(start_logits: Tensor, end_logits: Tensor, starts: Tensor, ends: Tensor, mask: Tensor) -> Tensor:
    """The mean over rows of -(log Σ p(start) + log Σ p(end)) / 2, summed over the right tokens; a scalar.

    Logits are (n, t); `starts` and `ends` (n, t) bool, each with at least one right token in a row; `mask` (n, t) is 0
    on the padding.
    """

    def log_share(logits: Tensor, right: Tensor) -> Tensor:
        known = logits.float().masked_fill(mask == 0, float("-inf")).log_softmax(dim=-1)
        return known.masked_fill(~right, float("-inf")).logsumexp(dim=-1)

    return -(log_share(start_logits, starts) + log_share(end_logits, ends)).mean() / 2


class SpanLoss:
    """Called with a question answering model and a batch of `SpanCollator`: the loss.

    `separation` is for telemetry: how much further the answer lies above null in rows that have one than in null rows,
    in logits; the mean over training batches since it was last asked, None where there was nothing to compare.
    """

    def __init__(self) -> None:
        self._found: list[float] = []

    def __call__(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        out = model(**{name: batch[name] for name in INPUTS})
        self._measure(out.start_logits, out.end_logits, batch)
        return span_loss(out.start_logits, out.end_logits, batch["starts"], batch["ends"], batch["attention_mask"])

    def separation(self) -> float | None:
        found, self._found = self._found, []
        return float(np.mean(found)) if found else None

    def _measure(self, start_logits: Tensor, end_logits: Tensor, batch: Mapping[str, Tensor]) -> None:
        def margin_of(logits: Tensor) -> Tensor:
            words = logits.masked_fill(batch["attention_mask"] == 0, float("-inf"))[:, 1:].amax(dim=-1)
            return words - logits[:, 0]

        margin = margin_of(start_logits.detach().float()) + margin_of(end_logits.detach().float())
        is_null = batch["starts"][:, 0]
        if is_null.any() and not is_null.all():
            self._found.append(float(margin[~is_null].mean() - margin[is_null].mean()))
