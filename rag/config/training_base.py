"""What the settings of training have in common, whatever kind of model is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rag.config.section import CountOrZero, Positive, PositiveInt, PositiveShare, Section


class WatchedTraining(Section):
    """How a run is watched, whatever its recipe."""

    evaluations: PositiveInt = Field(
        default=4, description="How many times the run is evaluated on dev questions. Each time a checkpoint is saved."
    )
    dev_questions: PositiveInt = Field(
        default=200,
        description="Dev questions used to evaluate while training, at most half of them. The others are kept for the "
        "comparison with the base model at the end.",
    )
    dev_candidates: PositiveInt = Field(
        default=20, description="Passages per dev question among which evaluation ranks."
    )
    report_to: Literal["none", "tensorboard", "wandb"] = Field(
        default="none", description="Where figures are sent besides the run's own log."
    )

    def overrides(self) -> dict[str, object]:
        """The recipe's fields that are set; None keeps the recipe's own value."""
        chosen = self.model_dump(exclude=set(WatchedTraining.model_fields))
        return {name: value for name, value in chosen.items() if value is not None}


class ScheduledTraining(WatchedTraining):
    """What the recipes of all kinds know."""

    epochs: Positive | None = Field(
        default=None, description="Passes over the training rows; may be a fraction.", examples=[2.0]
    )
    batch_size: PositiveInt | None = Field(
        default=None,
        description="Rows per step and process. A row is a question with one gold passage and its negatives.",
        examples=[64],
    )
    accumulation: PositiveInt | None = Field(
        default=None, description="Batches whose gradients are added up before each optimizer step.", examples=[1]
    )
    learning_rate: Positive | None = Field(
        default=None,
        description="The highest learning rate, reached at the end of the warm-up. It then falls linearly to 0.",
        examples=[2e-5],
    )
    warmup_steps: CountOrZero | None = Field(
        default=None,
        description="Steps in which the learning rate rises from 0. If not set: a tenth of the run, or 1000 with the "
        "retriever's recipe report.",
        examples=[100],
    )
    max_length_tokens: PositiveInt | None = Field(
        default=None, description="Longest text in tokens; longer ones are cut.", examples=[256]
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None,
        description="Share of activations dropped at random. Any value above 0 makes training on a CPU slower.",
        examples=[0.0],
    )
    freeze_embeddings: bool | None = Field(
        default=None, description="Keep the word embeddings as they are.", examples=[True]
    )
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="AdamW's decay of its mean of squared gradients; the higher, the longer it remembers.",
        examples=[0.999],
    )
    tuned_share: PositiveShare | None = Field(
        default=None,
        description="Share of the tuned weights in the model that is kept; the rest comes from the base model. 1 keeps "
        "the tuned weights alone.",
        examples=[0.5],
    )
    seed: CountOrZero | None = Field(
        default=None, description="Seed for drawing negatives, ordering rows and dropout.", examples=[0]
    )
