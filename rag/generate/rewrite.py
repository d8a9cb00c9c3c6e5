"""A follow-up question rewritten so that it can be understood without the conversation before it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.generate.answer import parse_answer
from rag.generate.prompts import defuse
from rag.generate.references import OPENS_AS_FOLLOW_UP, REFERRING_WORD, refers_back
from rag.generate.window import prompt_budget_tokens
from rag.scripts import spaced_out
from rag.types import Generator, Message, Messages

TURNS_KEPT = 3
MAX_CHARACTERS_KEPT = 300  # of each question and each answer

SYSTEM = (
    "Rewrite the last question so that it can be understood without the conversation. "
    "Replace words such as it, they or that by what they stand for. Reply with the rewritten question only."
)
EXAMPLE: Messages = [
    Message(
        role="user",
        content="Q: Who designed the Amber Line?\nA: Clara Voss\nQ: Where did she study?\n\nRewrite the last question.",
    ),
    Message(role="assistant", content="Where did Clara Voss study?"),
    Message(
        role="user",
        content="Q: What does a for loop do?\nA: it iterates over a sequence\nQ: And a while loop?\n\n"
        "Rewrite the last question.",
    ),
    Message(role="assistant", content="What does a while loop do?"),
]


def needs_rewriting(question: str, history: Sequence[tuple[str, str]]) -> bool:
    """Whether words of a question refer to the conversation before it (`rag.generate.references`)."""
    return bool(history) and refers_back(question)


def rewrite_question(question: str, history: Sequence[tuple[str, str]], generator: Generator) -> str:
    """The standalone form of `question`; `history` is (question, answer) pairs, oldest first. Raises GenerationError.

    The question itself comes back where it already stands alone, where the rewrite is unusable (empty, far too long, or
    an earlier question again), and where the generator's window is too small for the request.
    """
    if not needs_rewriting(question, history):
        return question
    kept = [[defuse(text)[:MAX_CHARACTERS_KEPT] for text in turn] for turn in history[-TURNS_KEPT:]]
    turns = "\n".join(f"Q: {q}\nA: {a}" for q, a in kept)
    request = Message(role="user", content=f"{turns}\nQ: {defuse(question)}\n\nRewrite the last question.")
    conversation = [Message(role="system", content=SYSTEM), *EXAMPLE, request]
    if generator.count_tokens(conversation) > prompt_budget_tokens(generator):
        return question
    raw = generator.generate([conversation])[0]
    parsed = parse_answer(raw, ())
    rewritten = re.sub(r"\A(?:Q|Question)\s*:\s*", "", parsed.text.splitlines()[0].strip())
    has_a_sound_length = 0 < len(rewritten) <= max(200, 3 * len(question))
    if parsed.abstained or not has_a_sound_length or _only_echoes(rewritten, question, history):
        return question
    return rewritten


def _only_echoes(rewritten: str, question: str, history: Sequence[tuple[str, str]]) -> bool:
    """Whether a rewrite repeats an earlier question instead of this one, as small models often do.

    It may be the same as an earlier question if it holds all the words of this one that do not refer back.
    """
    if not any(_words(rewritten) == _words(asked) for asked, _ in history):
        return False
    own = set(_words(REFERRING_WORD.sub(" ", OPENS_AS_FOLLOW_UP.sub(" ", question))))
    return not own <= set(_words(rewritten))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", spaced_out(text.lower()))
