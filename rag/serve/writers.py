"""What writes the answers: a generator with what goes along with it. A chat may offer several."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rag.config.reader import ANSWER_MARGIN
from rag.generate.builtin import get_prompt
from rag.generate.prompts import Prompt
from rag.lazy import Lazy
from rag.pipeline import Reading
from rag.types import Generator

IN_A_PHRASE, IN_SENTENCES = "cited-v1", "cited-v2"


@dataclass(frozen=True, slots=True)
class Writer:
    """A generator, the prompt that it is asked with, and what the prompt decides (`rag.pipeline.Pipeline`)."""

    generator: Lazy[Generator]
    prompt: Prompt
    sentence_margin: float | None = None
    reading: Reading | None = None

    def in_detail(self, detail: str) -> Writer:
        """The same, asked for a `short` phrase or a `detailed` answer in sentences; "" leaves it as it is.

        A phrase may be the span that a reader is sure of; for sentences whole passages are shown.
        """
        wanted = {"short": "phrase", "detailed": "sentences"}.get(detail, self.prompt.answers_in)
        if wanted == self.prompt.answers_in:
            return self
        if wanted == "sentences":
            return Writer(self.generator, get_prompt(IN_SENTENCES), None, self._read_from(None))
        return Writer(self.generator, get_prompt(IN_A_PHRASE), self.sentence_margin, self._read_from(ANSWER_MARGIN))

    def _read_from(self, margin: float | None) -> Reading | None:
        return None if self.reading is None else dataclasses.replace(self.reading, answer_margin=margin)
