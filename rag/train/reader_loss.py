"""The span reader's loss: start and end are each one choice among all tokens of the pair, [CLS] meaning null.

Where the answer stands in several places, each of them is right: the loss takes the logarithm of the sum of their
probabilities (marginal likelihood; Clark and Gardner 2018, https://arxiv.org/abs/1710.10723).

Null rows of near-twins teach a reader when to refuse, and spoil how it cuts answers. Against that, `kept` holds on to
the reader that training starts from: which word it would choose, null left aside, in every row (distillation, Hinton
et al. 2015, https://arxiv.org/abs/1503.02531).
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


def words_divergence(logits: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
    """The mean over rows of KL(kept ‖ now) of the choices among the words, all tokens but the first; a scalar, in nats.

    Logits are (n, t); `mask` (n, t) is 0 on the padding.
    """
    padding = mask[:, 1:] == 0

    def log_share(logits: Tensor) -> Tensor:
        # Finite, so that nothing times 0 becomes NaN.
        return logits[:, 1:].float().masked_fill(padding, -1e4).log_softmax(dim=-1)

    before, now = log_share(kept), log_share(logits)
    return (before.exp() * (before - now)).sum(dim=-1).mean()


class SpanLoss:
    """Called with a question answering model and a batch of `SpanCollator`: the loss.

    With `kept`, the model that training started from, and `keep_spans`, its weight, the mean divergence of start and
    end from what that model chooses among the words is added.

    `separation` is for telemetry: how much further the answer lies above null in rows that have one than in null rows,
    in logits; the mean over training batches since it was last asked, None where there was nothing to compare.
    """

    def __init__(self, kept: Any = None, keep_spans: float = 0.0) -> None:
        self._found: list[float] = []
        self._kept = kept
        self._keep_spans = keep_spans

    def __call__(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        inputs = {name: batch[name] for name in INPUTS}
        mask = batch["attention_mask"]
        out = model(**inputs)
        self._measure(out.start_logits, out.end_logits, batch)
        loss = span_loss(out.start_logits, out.end_logits, batch["starts"], batch["ends"], mask)
        if self._keep_spans:
            import torch

            with torch.no_grad():
                kept = self._kept.to(mask.device)(**inputs)  # where this process trains
            start = words_divergence(out.start_logits, kept.start_logits, mask)
            loss = loss + self._keep_spans * (start + words_divergence(out.end_logits, kept.end_logits, mask)) / 2
        return loss

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
