"""Ranking losses that sentence-transformers does not have.

`hybrid` is pairwise at the top of the order and listwise for the rest, and pairs that are far enough apart no longer
pull. `none_of_these` is listwise with one more candidate, which stands for refusing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def hybrid_loss(logits: Tensor, labels: Tensor, *, top: int, cap: float) -> Tensor:
    """The loss of one question's candidates: logits (n,) and labels (n,), relevant above one half.

    Against the irrelevant candidates in the model's own `top`, a relevant one has RankNet's logistic loss, pair by
    pair. Against those further down it has ListNet's cross-entropy over all of them at once. The lead d of a relevant
    one counts as `cap` * tanh(d / cap): pairs far enough apart no longer pull, and pairs in the wrong order pull in
    full. The loss is 0 where all labels agree.
    """
    relevant = labels > 0.5
    if relevant.all() or not relevant.any():
        return logits.sum() * 0.0  # 0 with a gradient, which the trainer needs
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

    It is ListNet's cross-entropy over the candidates and "none of these", whose logit is 0 and whose label is 1 where
    no candidate is gold. So gold passages learn to score above the others and above 0, and passages that do not answer
    learn to score below 0, whatever else is there. The best score of a question then says whether to refuse it.
    """
    total = labels.sum()
    none_label = (total == 0).float().view(1)
    targets = torch.cat([none_label, labels / total.clamp(min=1e-9)])
    return -(targets * torch.log_softmax(torch.cat([logits.new_zeros(1), logits]), dim=0)).sum()


class GroupLoss(nn.Module):
    """The mean of `of_group` over questions with their passages, for sentence-transformers' CrossEncoderTrainer."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    @abstractmethod
    def of_group(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of one question: logits and labels (n,) of its candidates."""

    def forward(self, inputs: Sequence[Sequence], labels: Sequence[Tensor], prompt=None, task=None) -> Tensor:
        """The mean over the b groups: `inputs` are b queries and b lists of passages, `labels` are b tensors."""
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
    """The mean `hybrid_loss` of the questions."""

    def __init__(self, model, *, top: int = 5, cap: float = 5.0):
        super().__init__(model)
        self.top, self.cap = top, cap

    def of_group(self, logits: Tensor, labels: Tensor) -> Tensor:
        return hybrid_loss(logits, labels, top=self.top, cap=self.cap)


class NoneOfTheseLoss(GroupLoss):
    """The mean `none_of_these_loss` of the questions."""

    def of_group(self, logits: Tensor, labels: Tensor) -> Tensor:
        return none_of_these_loss(logits, labels)
