"""The settings of training: one section for each kind of model.

Until these sections were split by kind, their keys stood together under [training]. Such keys are still read: each
applies to every kind that knows it. A new kind of model is one class here and one field of `TrainingSettings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, ValidationError, model_validator

from rag.config.generator_training import GeneratorTraining
from rag.config.reader_training import ReaderTraining
from rag.config.section import CountOrZero, Positive, PositiveInt, PositiveOrZero, PositiveShare, Section, Share
from rag.config.training_base import ScheduledTraining

Kind = Literal["retriever", "reranker", "reader", "generator"]
OLD_KINDS = ("retriever", "reranker")
"""The kinds that there were when their keys still stood together; those keys are of no other kind."""


class RetrieverTraining(ScheduledTraining):
    """`rag train retriever`. Every recipe has its own values; a value set here replaces the recipe's. A setting that
    changes nothing in the chosen recipe is refused.
    """

    dev_candidates: PositiveInt = Field(
        default=20,
        description="Passages per dev question, besides its gold passages, among which evaluation looks for gold.",
    )
    loss: Literal["contrastive", "kl", "margin_mse"] | None = Field(
        default=None,
        description="contrastive learns from gold and negatives; kl and margin_mse learn from the cross-encoder's "
        "scores.",
        examples=["contrastive"],
    )
    negatives: CountOrZero | None = Field(
        default=None, description="Explicit negatives per row, besides those in the batch.", examples=[1]
    )
    negatives_from: Literal["mined", "random"] | None = Field(
        default=None,
        description="Where negatives come from: the file of `rag mine`, or the whole corpus.",
        examples=["mined"],
    )
    mask_positives: bool | None = Field(
        default=None,
        description="Never use a passage as a negative of a question that it is known to answer, even if it belongs to "
        "another question of the batch.",
        examples=[True],
    )
    filter_by_guide: bool | None = Field(
        default=None,
        description="Drop negatives that the guide finds too similar to the question (see guide and guide_margin).",
        examples=[True],
    )
    guide: str | None = Field(
        default=None,
        description="The encoder that finds false negatives, by its name or folder; it may be larger than the one that "
        "is trained. If not set: the serving encoder, whose vectors of the passages are in the index.",
        examples=["intfloat/multilingual-e5-base"],
    )
    guide_margin: float | None = Field(
        default=None,
        description="A negative's cosine must be lower than the gold passage's by more than this. Higher drops more.",
        examples=[0.0],
    )
    temperature: Positive | None = Field(
        default=None,
        description="Cosines are divided by this; the lower, the more the hardest negatives count. With the loss "
        "margin_mse it is the difference in cosine that equals one logit of the cross-encoder.",
        examples=[0.02],
    )
    teacher_temperature: Positive | None = Field(
        default=None,
        description="Loss kl: the cross-encoder's logits are divided by this. Higher flattens its distribution.",
        examples=[1.0],
    )
    contrastive_share: PositiveOrZero | None = Field(
        default=None,
        description="Loss kl: weight of the contrastive loss that is added; the cross-encoder's part has weight 1.",
        examples=[0.2],
    )
    tension_share: Positive | None = Field(
        default=None,
        description="Weight of contrastive tension that is added to the loss: passages without questions have to find "
        "themselves through a second copy of the encoder. A step takes longer. If not set: none.",
        examples=[0.1],
    )
    mini_batch_size: PositiveInt | None = Field(
        default=None,
        description="Losses contrastive and kl: rows in memory at once, by cached gradients. The loss is still that of "
        "the whole batch.",
        examples=[16],
    )
    query_only: bool | None = Field(
        default=None,
        description="Train what embeds questions, and leave the vectors of the passages as the index holds them. The "
        "index stays valid. Losses contrastive and kl.",
        examples=[True],
    )


class RerankerTraining(ScheduledTraining):
    """`rag train reranker`. Every recipe has its own values; a value set here replaces the recipe's. A setting that
    changes nothing in the chosen recipe is refused.
    """

    dev_candidates: PositiveInt = Field(
        default=20, description="Retrieved passages per dev question that evaluation reranks."
    )
    batch_size: PositiveInt | None = Field(
        default=None,
        description="Rows per step and process. A row is a question with one gold passage and its negatives; with the "
        "loss bce it is one pair of question and passage.",
        examples=[16],
    )
    max_length_tokens: PositiveInt | None = Field(
        default=None,
        description="Longest question and passage together, in tokens; longer pairs are cut.",
        examples=[256],
    )
    loss: Literal["bce", "lambda", "listnet", "ranknet", "hybrid", "none_of_these"] | None = Field(
        default=None,
        description="bce scores single pairs; lambda, listnet, ranknet and hybrid learn the order of a question's "
        "passages; none_of_these also learns when no passage answers.",
        examples=["lambda"],
    )
    negatives: CountOrZero | None = Field(default=None, description="Negatives per question.", examples=[7])
    negatives_from: Literal["mined", "evidences", "random"] | None = Field(
        default=None,
        description="Where negatives come from: the file of `rag mine`, passages labelled 0 in the training file, or "
        "the whole corpus.",
        examples=["mined"],
    )
    random_share: Share | None = Field(
        default=None, description="Average share of random passages among mined negatives.", examples=[0.15]
    )
    positive_weight: Positive | None = Field(
        default=None,
        description="Loss bce: weight of a pair with label 1. A pair with label 0 has weight 1.",
        examples=[1.0],
    )
    soft_share: Share | None = Field(
        default=None, description="Share of the base model's own probability in the labels.", examples=[0.5]
    )
    hardest_first: bool | None = Field(
        default=None,
        description="Use the mined negatives with the highest scores instead of any of them.",
        examples=[True],
    )
    skip_easy: float | None = Field(
        default=None,
        description="Leave out questions whose gold passages all score this many logits above every mined negative.",
        examples=[3.0],
    )
    select: Literal["mrr", "loss"] | None = Field(
        default=None, description="Keep the checkpoint with the best value of this on dev questions.", examples=["mrr"]
    )
    unanswerable: bool | None = Field(
        default=None,
        description="Losses none_of_these and bce: learn from unanswerable questions too.",
        examples=[False],
    )
    embedding_learning_rate: Positive | None = Field(
        default=None, description="Learning rate of the word embeddings. If not set: learning_rate.", examples=[5e-6]
    )
    head_learning_rate: Positive | None = Field(
        default=None,
        description="Learning rate of the classification head. If not set: learning_rate.",
        examples=[2e-4],
    )
    layer_decay: PositiveShare | None = Field(
        default=None,
        description="Each layer learns at this share of the learning rate of the layer above it. Of an encoder with a "
        "decoder, the encoder lies below.",
        examples=[0.9],
    )
    freeze_layers: CountOrZero | None = Field(
        default=None, description="Keep the lowest layers as they are, so many of them.", examples=[6]
    )
    pooling: Literal["first", "last", "mean"] | None = Field(
        default=None,
        description="Where `--base` names a model that is no reranker: what its new head scores, the vector of the "
        "first token, of the last one, or the mean of all, without padding. If not set: the pooling that an encoder "
        "names; yes against no for a language model; else the first token.",
        examples=["mean"],
    )


class TrainingSettings(Section):
    """`rag train`, by the kind of model that is trained."""

    retriever: RetrieverTraining = RetrieverTraining()
    reranker: RerankerTraining = RerankerTraining()
    reader: ReaderTraining = ReaderTraining()
    generator: GeneratorTraining = GeneratorTraining()
    # Values given under their old names, directly under [training].
    _old: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _with_old_keys(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, Mapping):
            return handler(given)
        old = _old_values(given)
        training = handler({key: value for key, value in with_new_keys(given).items() if key not in old})
        training._old = {key: value for key, value in old.items() if value is not None}
        return training

    def overrides(self, kind: Kind) -> dict[str, object]:
        """The recipe's fields that are set for one kind of model.

        Values under old names that this kind does not take are among them: a recipe has to refuse them.
        """
        if kind not in OLD_KINDS:
            return getattr(self, kind).overrides()
        section = type(getattr(self, kind))
        foreign = {key: value for key, value in self._old.items() if not _takes(section, key, value)}
        return {**foreign, **getattr(self, kind).overrides()}


def with_new_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    """[training] as it was given, with each old key's value also under the kinds that take it.

    A value that stands under a kind already is kept. Old keys stay, so that a recipe can refuse what is not its own.
    """
    result = dict(given)
    for key, value in _old_values(given).items():
        for kind in _kinds_for(key, value):
            section = result.get(kind, {})
            if isinstance(section, Mapping):
                result[kind] = {key: value, **section}
    return result


def new_names(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """The new names of each old key that is given: {"training.epochs": ["training.retriever.epochs", …]}."""
    return {
        f"training.{key}": [f"training.{kind}.{key}" for kind in _kinds_for(key, value)]
        for key, value in _old_values(given).items()
    }


def _old_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """What stands directly under [training] although it is a setting of a kind."""
    known = {key for section in _sections().values() for key in section.model_fields}
    return {key: value for key, value in given.items() if key in known}


def _kinds_for(key: str, value: object) -> list[str]:
    """The kinds that take a value; where none does, those that know the key, whose errors then name it."""
    knowing = {kind: section for kind, section in _sections().items() if key in section.model_fields}
    return [kind for kind, section in knowing.items() if _takes(section, key, value)] or list(knowing)


def _takes(section: type[Section], key: str, value: object) -> bool:
    try:
        section.model_validate({key: value})
    except ValidationError:
        return False
    return True


def _sections() -> dict[str, type[Section]]:
    return {kind: type(TrainingSettings.model_fields[kind].default) for kind in OLD_KINDS}
