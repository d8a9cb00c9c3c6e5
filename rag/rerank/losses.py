"""The `hybrid` ranking loss: pairwise where the order is decided, listwise for the rest, never pulling without end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def hybrid_loss(logits: Tensor, labels: Tensor, *, top: int, cap: float) -> Tensor:
    """The loss of one question's candidates: logits (n,) and labels (n,), relevant above one half.

    A relevant candidate against the irrelevant ones among the model's own `top` is RankNet's logistic loss, pair by
    pair; against those further down it is ListNet's cross-entropy over all of them at once. A difference d of two
    logits counts as `cap` * tanh(d / cap): pairs far apart, whichever way, no longer pull. 0 where all labels agree.
    """
    relevant = labels > 0.5
    if relevant.all() or not relevant.any():
        return logits.sum() * 0.0
    is_top = torch.zeros_like(relevant)
    is_top[logits.detach().argsort(descending=True, stable=True)[:top]] = True
    differences = cap * torch.tanh((logits[relevant][:, None] - logits[~relevant][None, :]) / cap)
    near = is_top[~relevant]
    loss = logits.new_zeros(())
    if near.any():
        loss = loss + nn.functional.softplus(-differences[:, near]).mean()
    if not near.all():
        loss = loss + nn.functional.softplus(torch.logsumexp(-differences[:, ~near], dim=1)).mean()
    return loss


class HybridLoss(nn.Module):
    """`hybrid_loss` over groups of (queries, lists of passages), for sentence-transformers' CrossEncoderTrainer."""

    def __init__(self, model, *, top: int = 5, cap: float = 5.0, mini_batch_size: int = 16):
        super().__init__()
        self.model, self.top, self.cap, self.mini_batch_size = model, top, cap, mini_batch_size

    def forward(self, inputs: Sequence[Sequence], labels: Sequence[Tensor], prompt=None, task=None) -> Tensor:
        """The mean over the groups. `inputs` are b queries and b lists of passages, `labels` b tensors."""
        queries, passages = inputs
        pairs = [(query, text) for query, texts in zip(queries, passages, strict=True) for text in texts]
        logits = torch.cat(
            [
                self._logits(pairs[start : start + self.mini_batch_size], prompt, task)
                for start in range(0, len(pairs), self.mini_batch_size)
            ]
        )
        groups = zip(logits.split([len(texts) for texts in passages]), labels, strict=True)
        losses = [
            hybrid_loss(values, wanted.to(values.device), top=self.top, cap=self.cap) for values, wanted in groups
        ]
        return torch.stack(losses).mean()

    def _logits(self, pairs: list[tuple[str, str]], prompt, task) -> Tensor:
        features = self.model.preprocess(pairs, prompt=prompt, task=task)
        features = {
            name: value.to(self.model.device) if torch.is_tensor(value) else value for name, value in features.items()
        }
        return self.model(features)["scores"].view(-1).float()
