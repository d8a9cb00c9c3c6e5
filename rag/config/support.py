"""The settings of the check of answers."""

from __future__ import annotations

from pydantic import Field

from rag.config.section import Section


class SupportSettings(Section):
    """The check of an answer against the passages that it cites, before it is shown."""

    enabled: bool = Field(
        default=True,
        description="true scores each answer against the sentences that it cites, with the reranker, and says whether "
        "its words stand there. Without a reranker nothing is checked.",
    )
