"""Where questions are lost: each falls into exactly one class.

What came out decides first: a right answer is right wherever it came from. A question that was lost is blamed on the
earliest stage that let its gold passage go.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The classes, in the order of the stages."""

    NOT_RUN = "no prediction"
    NOT_IN_CORPUS = "gold not in corpus"
    NOT_RETRIEVED = "not retrieved"
    RANKED_OUT = "ranked out of the context"
    CUT = "cut by the budget"
    REFUSED_WRONGLY = "refused wrongly"
    ANSWERED_WRONGLY = "answered wrongly"
    RIGHT = "right"
    REFUSED_RIGHTLY = "refused rightly"
    ANSWERED_UNANSWERABLE = "answered the unanswerable"
    IN_CONTEXT = "gold in the context, no answer asked"
    NOT_JUDGED = "not judged"


EXPLANATIONS = {
    Outcome.NOT_RUN: "The run holds no prediction for it.",
    Outcome.NOT_IN_CORPUS: "No gold passage is in the corpus: nothing behind it could find it.",
    Outcome.NOT_RETRIEVED: "A gold passage is in the corpus and not among the retriever's candidates.",
    Outcome.RANKED_OUT: "A gold passage was retrieved; it, or each of its sentences, ranked too low for the prompt.",
    Outcome.CUT: "A gold passage was to reach the prompt and did not fit the window.",
    Outcome.REFUSED_WRONGLY: "Refused, with a gold passage in the context (or where none is known).",
    Outcome.ANSWERED_WRONGLY: "Answered, not like the reference, with a gold passage in the context (or none known).",
    Outcome.RIGHT: "Answered like a reference, whichever passage it came from.",
    Outcome.REFUSED_RIGHTLY: "Unanswerable, and refused.",
    Outcome.ANSWERED_UNANSWERABLE: "Unanswerable, and answered all the same.",
    Outcome.IN_CONTEXT: "A gold passage would reach the prompt; the run has no answer, or there is no reference.",
    Outcome.NOT_JUDGED: "No gold passage is known, and there is no answer or no reference to compare.",
}
GOOD = {Outcome.RIGHT, Outcome.REFUSED_RIGHTLY, Outcome.IN_CONTEXT}


def classify(
    *,
    predicted: bool,
    answerable: bool | None,
    answered: bool,
    abstained: bool = False,
    right: bool = False,
    judged: bool = False,
    in_corpus: bool = True,
    retrieved: bool = False,
    ranked_in: bool = False,
    in_context: bool = False,
) -> Outcome:
    """The one class of a question.

    `answerable` is None without a reference; `answered` says whether the run holds an answer, a refusal too; `judged`
    whether a gold passage is known; `ranked_in` whether one is among the passages that were to reach the prompt, and
    `in_context` whether one did.
    """
    if not predicted:
        return Outcome.NOT_RUN
    compared = answered and answerable is not None
    if compared and not answerable:
        return Outcome.REFUSED_RIGHTLY if abstained else Outcome.ANSWERED_UNANSWERABLE
    if compared and right and not abstained:
        return Outcome.RIGHT
    if judged:
        if not in_corpus:
            return Outcome.NOT_IN_CORPUS
        if not retrieved:
            return Outcome.NOT_RETRIEVED
        if not ranked_in:
            return Outcome.RANKED_OUT
        if not in_context:
            return Outcome.CUT
    if compared:
        return Outcome.REFUSED_WRONGLY if abstained else Outcome.ANSWERED_WRONGLY
    return Outcome.IN_CONTEXT if judged else Outcome.NOT_JUDGED
