"""Ranking losses that sentence-transformers does not have.

`hybrid`: pairwise where the order is decided, listwise for the rest, never pulling without end. `none_of_these`:
listwise with one candidate more, which stands for refusing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def hybrid_loss(logits: Tensor, labels: Tensor, *, top: int, cap: float) -> Tensor:
    """The loss of one question's candidates: logits (n,) and labels (n,), relevant above one half.

    A relevant candidate against the irrelevant ones among the model's own `top` is RankNet's logistic loss, pair by
    pair; against those further down it is ListNet's cross-entropy over all of them at once. By how much a relevant
    one leads, d, counts as `cap` * tanh(d / cap): pairs far enough apart no longer pull, while those in the wrong order
    pull in full. 0 where all labels agree.
    """
    relevant = labels > 0.5
    if relevant.all() or not relevant.any():
        return logits.sum() * 0.0
    is_top = torch.zeros_like(relevant)
    is_top[logits.detach().argsort(descending=True, stable=True)[:top]] = True
    leads = logits[relevant][:, None] - logits[~relevant][None, :]
    differences = torch.where(leads > 0, cap * torch.tanh(leads / cap), leads)
    near = is_top[~relevant]
    loss = logits.new_zeros(())
    if near.any():
        loss = loss + nn.functional.softplus(-differences[:, near]).mean()
    if not near.all():
        loss = loss + nn.functional.softplus(torch.logsumexp(-differences[:, ~near], dim=1)).mean()
    return loss


def none_of_these_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of one question's candidates: logits (n,) and labels (n,), all 0 where the question is unanswerable.

    The cross-entropy of ListNet over the candidates and "none of these", whose logit is 0 and whose label is 1 where
    no candidate has one. So gold passages learn to score above the others and above 0, and what does not answer to
    score below 0, whatever else is there: the best score of a question then says whether to refuse it.
    """
    total = labels.sum()
    none_label = (total == 0).float().view(1)
    targets = torch.cat([none_label, labels / total.clamp(min=1e-9)])
    return -(targets * torch.log_softmax(torch.cat([logits.new_zeros(1), logits]), dim=0)).sum()


class GroupLoss(nn.Module):
    """The mean of `of_group` over (queries, lists of passages), for sentence-transformers' CrossEncoderTrainer."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    @abstractmethod
    def of_group(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of one question: logits and labels (n,) of its candidates."""

    def forward(self, inputs: Sequence[Sequence], labels: Sequence[Tensor], prompt=None, task=None) -> Tensor:
        """The mean over the groups. `inputs` are b queries and b lists of passages, `labels` b tensors."""
        queries, passages = inputs
        pairs = [(query, text) for query, texts in zip(queries, passages, strict=True) for text in texts]
        features = self.model.preprocess(pairs, prompt=prompt, task=task)
        features = {
            name: value.to(self.model.device) if torch.is_tensor(value) else value for name, value in features.items()
        }
        logits = self.model(features)["scores"].view(-1).float()
        groups = zip(logits.split([len(texts) for texts in passages]), labels, strict=True)
        return torch.stack([self.of_group(values, wanted.to(values.device)) for values, wanted in groups]).mean()


class HybridLoss(GroupLoss):
    """`hybrid_loss` of every question."""

    def __init__(self, model, *, top: int = 5, cap: float = 5.0):
        super().__init__(model)
        self.top, self.cap = top, cap

    def of_group(self, logits: Tensor, labels: Tensor) -> Tensor:
        return hybrid_loss(logits, labels, top=self.top, cap=self.cap)


class NoneOfTheseLoss(GroupLoss):
    """`none_of_these_loss` of every question."""

    def of_group(self, logits: Tensor, labels: Tensor) -> Tensor:
        return none_of_these_loss(logits, labels)
