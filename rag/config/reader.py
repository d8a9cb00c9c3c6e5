"""The settings of the span reader."""

from __future__ import annotations

from pydantic import Field

from rag.config.section import PositiveInt, Precision, Section

ANSWER_MARGIN = 0.0
"""From this margin on, in logits, a span is the answer where the prompt asks for a phrase."""


class ReaderSettings(Section):
    """The span reader, which marks where the answer stands in a passage, and says whether it stands there."""

    enabled: bool = Field(
        default=True,
        description="true reads the best passages before the generator does. What was read decides on refusals too, "
        "where it helps, and a sure span is the answer.",
    )
    model: str = Field(
        default="rag-qa/minilm-reader-openqa",
        description="A name, or the folder of a BERT for question answering that knows unanswerable questions.",
    )
    depth: PositiveInt = Field(
        default=3, description="Passages read per question, best first. After a change, calibrate again."
    )
    answer_margin: float | None = Field(
        default=None,
        description="The words of the best span are the answer, without the generator, where its logit is at least "
        f'this far above that of "no answer here". If not set: {ANSWER_MARGIN:g} where the prompt asks for a phrase, '
        "never where it asks for sentences. inf: never.",
        examples=[8.0],
    )
    max_length_tokens: PositiveInt = Field(
        default=256,
        description="Longest question and passage together, in tokens. Longer passages are read in windows.",
    )
    precision: Precision = Field(default="auto", description="Arithmetic of the reader, as reranker.precision.")
