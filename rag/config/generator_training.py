"""The settings of `rag train generator`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rag.config.section import CountOrZero, Positive, PositiveInt, Section, Share

WATCHING = ("evaluations", "dev_questions", "gate_questions", "report_to")


class GeneratorTraining(Section):
    """`rag train generator`. Every recipe has its own values; a value set here replaces the recipe's. A setting that
    changes nothing in the chosen recipe is refused.
    """

    evaluations: PositiveInt = Field(
        default=4, description="How many times the run is evaluated on dev questions. Each time a checkpoint is saved."
    )
    dev_questions: PositiveInt = Field(
        default=200,
        description="Dev questions used to evaluate while training, at most half of them. Others are kept for the "
        "comparison with the base model at the end.",
    )
    gate_questions: PositiveInt = Field(
        default=400,
        description="Dev questions that both models answer in the comparison at the end, and their share of "
        "unanswerable ones. On a CPU one takes seconds.",
    )
    report_to: Literal["none", "tensorboard", "wandb"] = Field(
        default="none", description="Where figures are sent besides the run's own log."
    )
    epochs: Positive | None = Field(
        default=None, description="Passes over the training rows; may be a fraction.", examples=[1.0]
    )
    batch_size: PositiveInt | None = Field(
        default=None, description="Rows in memory at once. A row is a prompt with its answer.", examples=[4]
    )
    accumulation: PositiveInt | None = Field(
        default=None, description="Batches whose gradients are added up before each optimizer step.", examples=[4]
    )
    learning_rate: Positive | None = Field(
        default=None,
        description="The highest learning rate, reached at the end of the warm-up. It then falls linearly to 0.",
        examples=[2e-4],
    )
    warmup_steps: CountOrZero | None = Field(
        default=None,
        description="Steps in which the learning rate rises from 0. If not set: a tenth of the run.",
        examples=[20],
    )
    max_length_tokens: PositiveInt | None = Field(
        default=None,
        description="Longest prompt and answer together, in tokens; longer rows are left out and counted.",
        examples=[1024],
    )
    rank: PositiveInt | None = Field(
        default=None, description="LoRA: the rank of what is added to each weight matrix.", examples=[16]
    )
    alpha: PositiveInt | None = Field(
        default=None, description="LoRA: what is added is scaled by alpha / rank.", examples=[32]
    )
    layers: CountOrZero | None = Field(
        default=None,
        description="How many of the last layers learn; 0 means all. Fewer are faster: what lies below needs no "
        "gradients.",
        examples=[12],
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="LoRA: share of its inputs dropped at random.", examples=[0.0]
    )
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="AdamW's decay of its mean of squared gradients; the higher, the longer it remembers.",
        examples=[0.999],
    )
    put_in_share: Share | None = Field(
        default=None,
        description="Where no right passage was found, one is put among the contexts for this share of the questions. "
        "The others become refusals.",
        examples=[0.5],
    )
    withheld_share: Share | None = Field(
        default=None,
        description="Refusals per answerable question that are made by withholding what answers it.",
        examples=[0.3],
    )
    withhold: Literal["document", "passage"] | None = Field(
        default=None,
        description="What is withheld: the document of the right passage, where enough others were found, or that "
        "passage alone. Passages that hold the answer's words are withheld in any case.",
        examples=["document"],
    )
    twin_share: Share | None = Field(
        default=None,
        description="Refusals per answerable question that are made by exchanging a name or a number in the question.",
        examples=[0.15],
    )
    unanswerable: bool | None = Field(
        default=None, description="Learn from questions labelled unanswerable too.", examples=[True]
    )
    cite: bool | None = Field(
        default=None,
        description="Answers end with the number of the passage that answers, such as [2].",
        examples=[False],
    )
    tell_form: bool | None = Field(
        default=None,
        description="Tell in the prompt whether a short answer or sentences are wanted. Otherwise one prompt is used "
        "for both.",
        examples=[True],
    )
    seed: CountOrZero | None = Field(default=None, description="Seed for making rows and ordering them.", examples=[0])

    def overrides(self) -> dict[str, object]:
        """The recipe's fields that are set; None keeps the recipe's own value."""
        chosen = self.model_dump(exclude=set(WATCHING))
        return {name: value for name, value in chosen.items() if value is not None}
