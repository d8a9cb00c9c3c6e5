"""Training recipes of the retriever, a bi-encoder.

    report     the reference report's settings: one gold passage and 4 random negatives, temperature .05, batch 32,
               5 epochs
    mined      mined hard negatives; known gold passages in the batch are masked, and likely false negatives are
               filtered by the serving encoder
    distill    the cross-encoder's scores of the mined candidates, by listwise KL divergence, beside a contrastive
               loss, as E5 was fine-tuned (Wang et al. 2022, https://arxiv.org/abs/2212.03533)
    margin     the same scores by MarginMSE (Hofstätter et al. 2020, https://arxiv.org/abs/2010.02666)
    lasttoken  a causal language model as the encoder: EOS forced, last-token pooling, 1 gold passage and 9 negatives
               a question, and every other question's ten passages as negatives too
    query      the question tower alone: the vectors of the index's passages stay, and all of them are candidates of
               every question

Settings under [training.retriever] replace a recipe's values (`recipes.chosen_recipe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.train.run import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverRecipe(Schedule):
    """Everything that shapes a training run. `negatives` are the explicit ones per question, besides those in a batch.

    A teacher's scores are its probabilities, as mining keeps them. The loss `kl` compares
    softmax(logits / teacher_temperature) with the student's softmax(cosines / temperature), and adds
    `contrastive_share` of the contrastive loss. `margin_mse` compares differences of logits with differences of
    cosines / temperature. `guide` is the encoder that finds false negatives, None for the one that serves. Where
    there is a `tension_share`, so much of contrastive tension over passages without questions is added to any loss.
    With `query_only` the vectors of passages stay, and every passage of the index is a candidate of every question.
    """

    name: str
    loss: Literal["contrastive", "kl", "margin_mse"] = "contrastive"
    negatives: int = 1
    negatives_from: Literal["mined", "random"] = "mined"
    mask_positives: bool = True
    filter_by_guide: bool = True
    guide: str | None = None
    guide_margin: float = 0.0
    temperature: float = 0.02
    teacher_temperature: float = 1.0
    contrastive_share: float = 0.2
    tension_share: float | None = None
    mini_batch_size: int | None = None
    pooling: Literal["own", "lasttoken"] = "own"
    query_only: bool = False

    @property
    def learns_scores(self) -> bool:
        """Whether the loss needs a cross-encoder's scores of the passages."""
        return self.loss != "contrastive"

    @property
    def explicit_negatives(self) -> int:
        """How many negatives a row names; none where every passage is one anyway."""
        return 0 if self.query_only and not self.learns_scores else self.negatives

    def unread(self) -> set[str]:
        """The settings that change nothing with this loss."""
        names = set() if self.loss == "kl" else {"contrastive_share", "teacher_temperature"}
        if self.loss == "margin_mse":
            names |= {"mask_positives", "filter_by_guide", "mini_batch_size"}
        if self.query_only:
            names |= {"mini_batch_size"} if self.learns_scores else {"mini_batch_size", "negatives", "negatives_from"}
        is_filtered = self.filter_by_guide and self.loss != "margin_mse"
        return names if is_filtered else names | {"guide", "guide_margin"}


RECIPES = {
    recipe.name: recipe
    for recipe in (
        RetrieverRecipe(
            name="report",
            negatives=4,
            negatives_from="random",
            mask_positives=False,
            filter_by_guide=False,
            temperature=0.05,
            epochs=5,
            batch_size=32,
            warmup_steps=1000,
            max_length_tokens=512,
            dropout=0.1,
            freeze_embeddings=False,
        ),
        RetrieverRecipe(name="mined"),
        RetrieverRecipe(name="distill", loss="kl", negatives=3, batch_size=16, epochs=1),
        RetrieverRecipe(name="margin", loss="margin_mse", negatives=3, batch_size=32),
        RetrieverRecipe(
            name="lasttoken",
            pooling="lasttoken",
            negatives=9,
            mask_positives=False,
            filter_by_guide=False,
            batch_size=8,
            epochs=1,
        ),
        RetrieverRecipe(
            name="query", query_only=True, negatives=0, negatives_from="random", temperature=0.01, epochs=1
        ),
    )
}
