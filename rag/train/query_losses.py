"""Losses of a question encoder: every passage of the index is a candidate, and its vector stays as it is.

Only questions are encoded, so that a step is cheap and has as many negatives as there are passages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rag.train.retriever_losses import Guide, SeparationMixin, contrastive


class CandidateTable:
    """Which of N candidates each of n training rows names, and which are known, or likely, to answer its question.

    `columns` (n, P) are candidates, the gold passage first. `positives` has for each row every known gold passage. The
    passages of `guide` are the candidates.
    """

    def __init__(self, columns: np.ndarray, positives: Sequence[Iterable[int]], guide: Guide | None = None):
        self.columns = np.asarray(columns, np.int64)
        self.positives = [np.fromiter(own, np.int64) for own in positives]
        self.guide = guide

    def negatives_mask(self, rows: np.ndarray, n_candidates: int) -> np.ndarray:
        """(b, N) bool: True where a candidate is a true negative of a question."""
        mask = np.ones((len(rows), n_candidates), bool)
        if self.guide is not None:
            scores = self.guide.queries[rows] @ self.guide.passages.T
            own = scores[np.arange(len(rows)), self.columns[rows, 0]]
            mask = scores < own[:, None] - self.guide.margin
        for own_mask, row in zip(mask, rows, strict=True):
            own_mask[self.positives[row]] = False
        return mask


class QueryLoss(SeparationMixin, nn.Module):
    """InfoNCE of a question's cosines with all passages, divided by `temperature`; a row's label is its number.

    `passages` (N, d) are unit vectors. With a `teacher` (n, P), the logits of each row's own columns, the loss is the
    KL divergence from its distribution over these, divided by `teacher_temperature`, and `contrastive_share` of
    InfoNCE. `separation()` is the mean of (positive - hardest true negative) cosine since the last call.
    """

    def __init__(
        self,
        model: nn.Module,
        passages: np.ndarray,
        table: CandidateTable,
        *,
        temperature: float,
        teacher: np.ndarray | None = None,
        teacher_temperature: float = 1.0,
        contrastive_share: float = 1.0,
    ):
        super().__init__()
        self.model = model
        self.table = table
        self.temperature = temperature
        self.teacher = None if teacher is None else torch.from_numpy(np.asarray(teacher, np.float32))
        self.teacher_temperature = teacher_temperature
        self.contrastive_share = contrastive_share
        # Not saved with the model, and moved to its device with it.
        self.register_buffer("passages", torch.from_numpy(np.asarray(passages, np.float32)), persistent=False)
        self._separations: list[float] = []

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        (questions,) = sentence_features
        vectors = self.model(questions)["sentence_embedding"].float()
        return self.of_vectors(vectors, labels.cpu().numpy())

    def of_vectors(self, questions: Tensor, rows: np.ndarray) -> Tensor:
        """The loss from (b, d) vectors of questions, whose numbers in the table are `rows`; cut at the passages' d."""
        passages: Tensor = self.get_buffer("passages")
        questions = nn.functional.normalize(questions[:, : passages.shape[1]], dim=-1)
        # In full precision: under autocast the best of many thousands of cosines would be ties.
        with torch.autocast(questions.device.type, enabled=False):
            cosines = questions @ passages.to(questions.device).T
        loss = self._contrastive(cosines, rows)
        if self.teacher is None:
            return loss
        columns = torch.from_numpy(self.table.columns[rows]).to(cosines.device)
        student = torch.log_softmax(cosines.gather(1, columns) / self.temperature, dim=1)
        teacher = torch.log_softmax(self.teacher[rows].to(cosines.device) / self.teacher_temperature, dim=1)
        divergence = nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return divergence + self.contrastive_share * loss

    def _contrastive(self, cosines: Tensor, rows: np.ndarray) -> Tensor:
        gold = torch.from_numpy(self.table.columns[rows, 0]).to(cosines.device)
        negatives = torch.from_numpy(self.table.negatives_mask(rows, cosines.shape[1])).to(cosines.device)
        return contrastive(cosines, gold, negatives, self.temperature, self._separations)
