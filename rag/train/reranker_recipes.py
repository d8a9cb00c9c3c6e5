"""Training recipes of the reranker, a cross-encoder.

    report-1, report-2   the reference report's two runs: binary cross-entropy on single pairs; the negatives are
                         evidences labelled 0, filled up with random passages
    lambda               LambdaLoss (Wang et al. 2018, https://doi.org/10.1145/3269206.3271784) on whole groups
    listnet              ListNet (Cao et al. 2007, https://doi.org/10.1145/1273496.1273513)
    ranknet              RankNet (Burges et al. 2005, https://doi.org/10.1145/1102351.1102363)
    hybrid               pairwise on the model's own top 5, listwise on the rest, separations capped by tanh; one
                         learning rate each for embeddings, encoder and head
    distill              ListNet towards gold labels mixed with the base model's own probabilities, to stay close to it
    abstain              ListNet with one more candidate, "none of these", whose logit is 0; learns from unanswerable
                         questions too, so that the best score of a question says whether to refuse it

A group is a question with one gold passage and negatives. For all but `report-*` these are passages that the serving
retriever ranks high, because those are what the reranker will have to tell apart.

Settings under [training.reranker] replace a recipe's values (`recipes.chosen_recipe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.train.run import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerRecipe(Schedule):
    """Everything that shapes a training run.

    There are `negatives` per question; on average `random_share` of them are random instead of mined. The checkpoint
    kept is the best by `select`: MRR@10 of reranked candidates, or the loss on dev questions that are made into pairs
    as the training questions are. `embedding_learning_rate` and `head_learning_rate` are the encoder's where they are
    None, and `layer_decay` lets each layer learn at a share of the rate of the one above. The lowest `freeze_layers`
    stay as they are. `pooling` is for a body that gets a head (`reranker_start`). With `unanswerable`, questions that
    no passage answers are trained on too: groups of negatives only.

    If a cross-encoder scored the mined negatives, the best scored ones can be used (`hardest_first`, else any), and
    questions can be left out whose gold passages all lie `skip_easy` logits above them: little is left to learn there.
    """

    name: str
    loss: Literal["bce", "lambda", "listnet", "ranknet", "hybrid", "none_of_these"] = "lambda"
    negatives: int = 7
    negatives_from: Literal["mined", "evidences", "random"] = "mined"
    random_share: float = 0.15
    positive_weight: float = 1.0
    soft_share: float = 0.0
    hardest_first: bool = False
    skip_easy: float | None = None
    select: Literal["mrr", "loss"] = "mrr"
    unanswerable: bool = False
    embedding_learning_rate: float | None = None
    head_learning_rate: float | None = None
    layer_decay: float | None = None
    freeze_layers: int | None = None
    pooling: Literal["first", "last", "mean"] | None = None
    batch_size: int = 16
    epochs: float = 1.0

    def unread(self) -> set[str]:
        """The settings that change nothing with this loss and these negatives."""
        names = set() if self.loss == "bce" else {"positive_weight"}
        return names if self.negatives_from == "mined" else names | {"random_share"}


RECIPES = {
    recipe.name: recipe
    for recipe in (
        RerankerRecipe(
            name="report-1",
            loss="bce",
            negatives=4,
            negatives_from="evidences",
            learning_rate=2e-5,
            epochs=2,
            max_length_tokens=512,
            dropout=0.1,
            freeze_embeddings=False,
        ),
        RerankerRecipe(
            name="report-2",
            loss="bce",
            negatives=4,
            negatives_from="evidences",
            learning_rate=5e-6,
            epochs=1,
            max_length_tokens=512,
            dropout=0.1,
            freeze_embeddings=False,
        ),
        RerankerRecipe(
            name="hybrid",
            loss="hybrid",
            learning_rate=5e-5,
            embedding_learning_rate=5e-6,
            head_learning_rate=2e-4,
            adam_beta2=0.97,
            dropout=0.1,
            freeze_embeddings=False,
        ),
        RerankerRecipe(name="lambda"),
        RerankerRecipe(name="listnet", loss="listnet"),
        RerankerRecipe(name="ranknet", loss="ranknet"),
        RerankerRecipe(name="distill", loss="listnet", soft_share=0.5),
        RerankerRecipe(name="abstain", loss="none_of_these", unanswerable=True),
    )
}
