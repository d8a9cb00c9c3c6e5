"""What fits into the generator's window: a prompt composed of as many contexts as it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.generate.excerpts import excerpted, longest_beginning
from rag.generate.prompts import Prompt, conversation_sha256
from rag.types import Generator, Hit, Messages, Response, Span

Excerpts = Mapping[str, tuple[Span, ...]]
"""Passage id -> the spans of its text that are shown; a passage without an entry is shown whole."""


def prompt_budget_tokens(generator: Generator) -> int:
    """Tokens that a prompt may take, so that the longest answer still fits into the window behind it."""
    return generator.context_window_tokens - getattr(generator, "max_new_tokens", 0)


def arrange(contexts: Sequence[Hit], order: str) -> list[Hit]:
    """Contexts, given best first, in the order of the prompt: `best-first`, `best-last` or `best-at-both-ends`.

    `best-at-both-ends` puts the first, third, … at the beginning and the second, fourth, … in reverse at the end:
    models read the middle of a long prompt least (Liu et al. 2023, https://arxiv.org/abs/2307.03172).
    """
    if order == "best-last":
        return list(reversed(contexts))
    if order == "best-at-both-ends":
        return [*contexts[::2], *reversed(contexts[1::2])]
    return list(contexts)


def compose(
    response: Response, generator: Generator, prompt: Prompt, *, n_contexts: int, order: str
) -> tuple[Messages | None, Response]:
    """The conversation to send for a reranked question, and the response with the contexts that it shows.

    The best `n_contexts` passages are wanted; where sentences were chosen, only those of them that have any. Wanted
    passages that are left out count as `dropped_contexts`. The conversation is None where the window holds no word of
    any of them beside the question.
    """
    wanted = list(response.reranked[:n_contexts])
    if response.excerpts:
        wanted = [hit for hit in wanted if hit.passage.id in response.excerpts]
    window = _Window(response, generator, prompt, order, wanted)
    nothing = None, dataclasses.replace(response, dropped_contexts=len(wanted))

    # Everything, or everything but the demonstrations: a passage is worth more than an example of form.
    if composed := window.fit(wanted, demonstrate=True) or window.fit(wanted):
        return composed

    # The best passage does not fit by itself: as much of its beginning as does, and nothing beside it.
    best = wanted[:1]
    if best and window.fit(best) is None:
        beginning = window.beginning(best[0])
        if beginning is not None:
            return window.fit(best, beginning) or nothing

    # From the best down, every passage that fits beside those already in.
    chosen: list[Hit] = []
    best_so_far: tuple[Messages | None, Response] = nothing
    for hit in wanted:
        if composed := window.fit([*chosen, hit]):
            chosen.append(hit)
            best_so_far = composed
    return best_so_far


@dataclass(frozen=True, slots=True)
class _Window:
    """The window of a generator, into which the prompt of one question has to fit."""

    response: Response
    generator: Generator
    prompt: Prompt
    order: str
    wanted: Sequence[Hit]

    def fit(
        self, contexts: Sequence[Hit], excerpts: Excerpts | None = None, *, demonstrate: bool = False
    ) -> tuple[Messages, Response] | None:
        """The conversation that shows these contexts, and the response that says so; None if it does not fit.

        `excerpts` stand in for those of the response.
        """
        if excerpts is None:
            excerpts = self.response.excerpts
        shown = arrange(contexts, self.order)
        passages = excerpted(shown, excerpts)
        conversation = self.prompt.conversation(self.response.query.text, passages, demonstrate=demonstrate)
        n_tokens = self.generator.count_tokens(conversation)
        if n_tokens > prompt_budget_tokens(self.generator):
            return None
        return conversation, dataclasses.replace(
            self.response,
            contexts=tuple(shown),
            excerpts=excerpts,
            dropped_contexts=len(self.wanted) - len(contexts),
            prompt_sha256=conversation_sha256(conversation),
            tokens={"prompt": n_tokens},
        )

    def beginning(self, hit: Hit) -> Excerpts | None:
        """The excerpts in which `hit` is cut to the longest beginning that fits alone; None if no word of it does."""
        best = hit.passage
        excerpts = self.response.excerpts or {own.passage.id: ((0, len(own.passage.text)),) for own in self.wanted}
        spans = longest_beginning(
            best.text, excerpts[best.id], lambda spans: self.fit([hit], {best.id: spans}) is not None
        )
        return {**excerpts, best.id: spans} if spans else None
