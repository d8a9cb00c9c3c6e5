"""What a conversation was about, for the search of the question that comes next."""

from __future__ import annotations

from collections.abc import Sequence

from rag.retrieve.follow_up import Before
from rag.serve.turns import Turn, outcome
from rag.types import Passage, Retriever, ranked

MAX_CHARACTERS_KEPT = 300  # of the last question, and of its answer


def what_was_before(past: Sequence[Turn], retriever: Retriever) -> Before:
    """The last question with its answer, and the passage that the last answer with a source cited first.

    `past` are answered turns, oldest first. A client of the API tells its questions and answers without the passages.
    Then the best passage that `retriever` finds for the last question stands for the one that was cited.
    """
    _, answer = outcome(past[-1])
    asked = (past[-1].searched_for or past[-1].question)[-MAX_CHARACTERS_KEPT:]
    text = asked if answer.abstained else f"{asked} {answer.text[:MAX_CHARACTERS_KEPT]}"
    cited = next((passage for turn in reversed(past) if (passage := _cited(turn)) is not None), None)
    if cited is None and not any(outcome(turn)[0].reranked for turn in past):
        (hits,) = retriever.retrieve([asked], 1)
        cited = hits[0].passage if hits else None
    return Before(text, cited)


def _cited(turn: Turn) -> Passage | None:
    """The passage that an answer cites first, or else its best context; None for a refusal."""
    response, answer = outcome(turn)
    if answer.abstained or not response.contexts:
        return None
    passages = {hit.passage.id: hit.passage for hit in response.contexts}
    return next((passages[pid] for pid in answer.citations if pid in passages), ranked(response.contexts)[0].passage)
