"""Answers that another run already got, so that a generator is never asked the same twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rag.generate.prompts import conversation_sha256
from rag.types import Generator, Messages

KnownAnswers = Mapping[str, str]


class KnownAnswersGenerator:
    """Takes the raw answer to a conversation from `known`, by its hash, and asks the generator for the others alone."""

    def __init__(self, generator: Generator, known: KnownAnswers):
        self._generator, self._known = generator, known
        self.max_new_tokens = getattr(generator, "max_new_tokens", 0)

    @property
    def context_window_tokens(self) -> int:
        return self._generator.context_window_tokens

    def count_tokens(self, conversation: Messages) -> int:
        return self._generator.count_tokens(conversation)

    def generate(self, conversations: Sequence[Messages]) -> list[str]:
        """One raw answer per conversation, in order."""
        hashes = [conversation_sha256(conversation) for conversation in conversations]
        unknown = [n for n, sha256 in enumerate(hashes) if sha256 not in self._known]
        outputs = self._generator.generate([conversations[n] for n in unknown]) if unknown else []
        answers = dict(zip(unknown, outputs, strict=True))
        return [answers[n] if n in answers else self._known[sha256] for n, sha256 in enumerate(hashes)]

    def stream(self, conversation: Messages) -> Iterator[str]:
        yield from self._generator.stream(conversation)
