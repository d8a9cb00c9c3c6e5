"""The settings of `rag train reader`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rag.config.section import CountOrZero, Positive, PositiveInt, PositiveOrZero
from rag.config.training_base import ScheduledTraining


class ReaderTraining(ScheduledTraining):
    """`rag train reader`. Every recipe has its own values; a value set here replaces the recipe's. A setting that
    changes nothing in the chosen recipe is refused.
    """

    dev_candidates: PositiveInt = Field(
        default=1,
        description="Passages per dev question that do not hold the answer. The reader has to say so of each.",
    )
    batch_size: PositiveInt | None = Field(
        default=None,
        description="Rows per step and process. A row is a question with one passage.",
        examples=[16],
    )
    learning_rate: Positive | None = Field(
        default=None,
        description="The highest learning rate, reached at the end of the warm-up. It then falls linearly to 0.",
        examples=[5e-5],
    )
    warmup_steps: CountOrZero | None = Field(
        default=None,
        description="Steps in which the learning rate rises from 0. If not set: 6 % of the run.",
        examples=[100],
    )
    max_length_tokens: PositiveInt | None = Field(
        default=None,
        description="Longest question and passage together, in tokens. Of a longer passage a part around an answer is "
        "used.",
        examples=[256],
    )
    null_share: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None,
        description="Share of rows whose passage does not hold the answer.",
        examples=[0.5],
    )
    keep_spans: PositiveOrZero | None = Field(
        default=None,
        description="How much the choice among a passage's words is kept as it was in the reader that training starts "
        "from, beside learning when nothing answers. 0 keeps nothing.",
        examples=[1.0],
    )
    seed: CountOrZero | None = Field(
        default=None,
        description="Seed for drawing passages without the answer, ordering rows and dropout.",
        examples=[0],
    )
