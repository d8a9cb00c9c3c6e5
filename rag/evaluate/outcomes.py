"""Where questions are lost: each question falls into exactly one class.

The answer decides first: a right answer is right, whichever passage it came from. A lost question is blamed on the
earliest stage that lost its gold passage.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The classes of questions, in the order of the stages."""

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
    Outcome.NOT_IN_CORPUS: "No gold passage is in the corpus: no stage could find it.",
    Outcome.NOT_RETRIEVED: "A gold passage is in the corpus, but not among the retriever's candidates.",
    Outcome.RANKED_OUT: "A gold passage was retrieved; it, or each of its sentences, ranked too low for the prompt.",
    Outcome.CUT: "A gold passage was to reach the prompt, but did not fit into the window.",
    Outcome.REFUSED_WRONGLY: "Refused, with a gold passage in the context (or where none is known).",
    Outcome.ANSWERED_WRONGLY: "Answered, not like the reference, with a gold passage in the context (or none known).",
    Outcome.RIGHT: "Answered like a reference, whichever passage it came from.",
    Outcome.REFUSED_RIGHTLY: "Unanswerable, and refused.",
    Outcome.ANSWERED_UNANSWERABLE: "Unanswerable, but answered.",
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
    """The class of a question.

    `answerable` is None without a reference. `answered`: the run holds an answer or a refusal. `judged`: a gold passage
    is known. `ranked_in`: one is among the passages that were to reach the prompt. `in_context`: one did reach it.
    """
    if not predicted:
        return Outcome.NOT_RUN
    # What came out, where it can be compared with a reference.
    compared = answered and answerable is not None
    if compared and not answerable:
        return Outcome.REFUSED_RIGHTLY if abstained else Outcome.ANSWERED_UNANSWERABLE
    if compared and right and not abstained:
        return Outcome.RIGHT
    # The earliest stage that lost the gold passage.
    if judged:
        if not in_corpus:
            return Outcome.NOT_IN_CORPUS
        if not retrieved:
            return Outcome.NOT_RETRIEVED
        if not ranked_in:
            return Outcome.RANKED_OUT
        if not in_context:
            return Outcome.CUT
    # The gold passage reached the prompt, or none is known.
    if compared:
        return Outcome.REFUSED_WRONGLY if abstained else Outcome.ANSWERED_WRONGLY
    return Outcome.IN_CONTEXT if judged else Outcome.NOT_JUDGED
