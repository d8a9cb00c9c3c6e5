"""The contrastive loss in which only true negatives count, alone or beside a teacher's ranking.

sentence-transformers does not have these parts:

- The known positives of *every* question in the batch are masked.
- False negatives are filtered by a frozen guide whose vectors were computed once, instead of encoding each batch a
  second time (GISTEmbed, Solatorio 2024, https://arxiv.org/abs/2402.16829).
- A cross-encoder's scores of each question's own passages can be learnt beside it, as E5 was fine-tuned (Wang et al.
  2022, https://arxiv.org/abs/2212.03533).
- Passages without questions can be learnt from beside any of these losses, by contrastive tension (Carlsson et al.
  2021, https://openreview.net/pdf?id=Ov_sMNau-PF).

Cached gradients allow large batches in little memory (GradCache, Gao et al. 2021, https://arxiv.org/abs/2101.06983).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.sentence_transformer.losses import MarginMSELoss
from sentence_transformers.util import pairwise_cos_sim
from torch import Tensor, nn


def contrastive(
    cosines: Tensor, gold: Tensor, negatives: Tensor, temperature: float, separations: list[float]
) -> Tensor:
    """Cross-entropy of each question's gold column `gold` (n,) among its `negatives` (n, m) bool, by (n, m) cosines.

    The mean lead of the gold cosine over the hardest negative is added to `separations`.
    """
    own = torch.zeros_like(negatives).scatter_(1, gold[:, None], True)
    negatives = negatives & ~own
    hardest = cosines.detach().masked_fill(~negatives, -torch.inf).max(dim=1).values
    leads = (cosines.detach()[own] - hardest)[negatives.any(dim=1)]
    if len(leads):
        separations.append(float(leads.mean()))
    logits = (cosines / temperature).masked_fill(~(negatives | own), float("-inf"))
    return nn.functional.cross_entropy(logits, gold)


@dataclass(frozen=True)
class Guide:
    """Unit vectors of a frozen encoder: of every training question (n, d), and of the passages (N, d) by corpus rows.

    Rows of passages that stand in no training row may hold anything. A true negative's cosine is below the gold
    passage's by more than `margin`.
    """

    queries: np.ndarray
    passages: np.ndarray
    margin: float = 0.0


class PairTable:
    """Which passages stand in a training row, and which are known to answer its question.

    `columns` (n, 1 + negatives) are corpus rows, the positive first. `positives` has for each training row the corpus
    rows of every known positive.
    """

    def __init__(self, columns: np.ndarray, positives: Sequence[Iterable[int]], guide: Guide | None = None):
        self.columns = np.asarray(columns, np.int64)
        self.positives = [np.fromiter(rows, np.int64) for rows in positives]
        self.guide = guide

    def negatives_mask(self, rows: np.ndarray) -> np.ndarray:
        """(b, b * P) bool, P = 1 + negatives: True where a candidate of the batch is a true negative of a question.

        Candidates stand question by question: the first one's P passages, then the second one's, and so on.
        """
        candidates = self.columns[rows].reshape(-1)
        mask = np.stack([~np.isin(candidates, self.positives[row]) for row in rows])
        if self.guide is not None:
            scores = self.guide.queries[rows] @ self.guide.passages[candidates].T
            own = scores[np.arange(len(rows)), np.arange(len(rows)) * self.columns.shape[1]]
            mask &= scores < own[:, None] - self.guide.margin
        return mask


class SeparationMixin:
    """Keeps the separations of training steps until they are read."""

    _separations: list[float]

    def separation(self) -> float | None:
        """The mean since the last call; None where there was no step."""
        values = self._separations
        self._separations = []
        return float(np.mean(values)) if values else None


class MaskedContrastiveLoss(SeparationMixin, CachedLossMixin, nn.Module):
    """InfoNCE over cosines divided by `temperature`; the label of a row is its number in `table`.

    Q questions with P passages each, the positive first, are Q * P candidates for every question; the right one of
    question i is number i * P. With nothing masked this is the plain cross-entropy over `arange(Q) * P`.
    With `mini_batch_size` the gradients of the embeddings are cached, so that memory depends on it and not on the
    batch. `separation()` is the mean of (positive - hardest true negative) cosine since the last call.
    """

    def __init__(self, model, table: PairTable, *, temperature: float, mini_batch_size: int | None = None):
        super().__init__()
        self.model = model
        self.table = table
        self.temperature = temperature
        self.uses_gradient_cache = mini_batch_size is not None
        if mini_batch_size is not None:
            self.mini_batch_size = mini_batch_size
        self._separations: list[float] = []

    def forward(self, sentence_features, labels: Tensor) -> Tensor:
        if self.uses_gradient_cache:
            return self.forward_cached(sentence_features, labels)
        return self._loss(embed_columns(self.model, sentence_features), labels)

    def calculate_loss(self, reps, labels: Tensor | None = None, *, with_backward: bool = False) -> Tensor:
        """For `CachedLossMixin`: the loss from the embeddings of the mini-batches, one list of them per column."""
        assert labels is not None, "a row is known by its label"
        loss = self._loss([torch.cat(parts) for parts in reps], labels)
        if with_backward:
            loss.backward()
            loss = loss.detach()
        return loss

    def _loss(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        queries = nn.functional.normalize(embeddings[0].float(), dim=-1)
        passages = nn.functional.normalize(torch.stack(list(embeddings[1:]), dim=1).float(), dim=-1)
        return self.of_cosines(torch.einsum("qd,npd->qnp", queries, passages), labels.cpu().numpy())

    def of_cosines(self, by_question: Tensor, rows: np.ndarray) -> Tensor:
        """The loss from (n, n, P) cosines of each question with every question's passages.

        `rows` are the numbers of the n questions in the table.
        """
        n, _, n_passages = by_question.shape
        cosines = by_question.flatten(1)
        labels_in_batch = torch.arange(n, device=cosines.device) * n_passages
        negatives = torch.from_numpy(self.table.negatives_mask(rows)).to(cosines.device)
        return contrastive(cosines, labels_in_batch, negatives, self.temperature, self._separations)


class DistilledLoss(MaskedContrastiveLoss):
    """KL divergence from a teacher's distribution over each question's own P passages, and a share of InfoNCE.

    `teacher` (rows of the table, P) are the teacher's logits, divided by `teacher_temperature`; the student's are its
    cosines divided by `temperature`. The loss is KL + `contrastive_share` * `MaskedContrastiveLoss`: the first orders
    what is hard to tell apart, the second keeps everything else away.
    """

    def __init__(
        self,
        model,
        table: PairTable,
        teacher: np.ndarray,
        *,
        temperature: float,
        teacher_temperature: float,
        contrastive_share: float,
        mini_batch_size: int | None = None,
    ):
        super().__init__(model, table, temperature=temperature, mini_batch_size=mini_batch_size)
        self.teacher = torch.from_numpy(np.asarray(teacher, np.float32)) / teacher_temperature
        self.contrastive_share = contrastive_share

    def of_cosines(self, by_question: Tensor, rows: np.ndarray) -> Tensor:
        own = torch.arange(len(rows), device=by_question.device)
        student = torch.log_softmax(by_question[own, own] / self.temperature, dim=1)
        teacher = torch.log_softmax(self.teacher[rows].to(student.device), dim=1)
        divergence = nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return divergence + self.contrastive_share * super().of_cosines(by_question, rows)


class TensionLoss(nn.Module):
    """A labelled loss, and `share` of contrastive tension over further passages, which are the last column.

    Each of the b further passages has to find itself among the b vectors of `twin`, a second encoder that starts as the
    model and is trained with it, and each vector of the twin its passage: the mean of both cross-entropies over cosines
    divided by `temperature`. The twin is not kept. Gradients of this part are not cached, whatever `labelled` does.
    """

    def __init__(self, labelled, model, twin, *, share: float, temperature: float):
        super().__init__()
        self.labelled = labelled
        self.model = model
        self.twin = twin
        self.share = share
        self.temperature = temperature

    def forward(self, sentence_features, labels: Tensor) -> Tensor:
        *own, further = sentence_features
        return self.labelled(own, labels) + self.share * self.tension(further)

    def tension(self, further) -> Tensor:
        """Contrastive tension of the further passages."""
        # Each of the two gets a batch of its own: a forward pass writes into the one that it is given.
        passages, twins = (
            nn.functional.normalize(encoder(dict(further))["sentence_embedding"].float(), dim=-1)
            for encoder in (self.model, self.twin)
        )
        logits = passages @ twins.T / self.temperature
        itself = torch.arange(len(logits), device=logits.device)
        return (nn.functional.cross_entropy(logits, itself) + nn.functional.cross_entropy(logits.T, itself)) / 2

    def separation(self) -> float | None:
        """That of the labelled loss."""
        return self.labelled.separation()


class MarginLoss(SeparationMixin, MarginMSELoss):
    """MarginMSE of cosines. `separation()`: the mean of (positive - best negative) cosine since the last call."""

    def __init__(self, model):
        super().__init__(model, similarity_fct=pairwise_cos_sim)
        self._separations: list[float] = []

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        queries, *passages = (nn.functional.normalize(vectors.detach().float(), dim=1) for vectors in embeddings)
        cosines = torch.stack([(queries * own).sum(dim=1) for own in passages], dim=1)
        self._separations.append(float((cosines[:, 0] - cosines[:, 1:].max(dim=1).values).mean()))
        return super().compute_loss_from_embeddings(embeddings, labels)
