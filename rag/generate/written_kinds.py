"""The kinds of text that a generator writes about a passage: a question, a claim, keywords; and in which language.

A claim is what SciFact (Wadden et al. 2020, https://arxiv.org/abs/2004.14974) searches evidence for. Retrieval tasks
differ by such intents, and a model trained on questions alone knows but one (Promptagator, Dai et al. 2022,
https://arxiv.org/abs/2209.11755).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from rag.generate.instructions import withhold
from rag.generate.prompts import defuse
from rag.languages import ENGLISH, FUNCTION_WORDS, NO_LANGUAGE, language_of
from rag.scripts import script_counts
from rag.types import Message, Messages, Passage

QUESTION, CLAIM, KEYWORDS = "question", "claim", "keywords"
SUMMARY_WORDS = 1_500
"""Of a long passage so many words are summarised; what follows is left out."""
_BRIDGE = (
    "Alder Bridge\nThe Alder Bridge crosses the Mura at Stenfeld. It was designed by the engineer Ines Halloran "
    "and opened to carts in 1874, two years after the flood that took the old ford."
)
_HANDBOOK = (
    "Staff handbook, Northwind Ltd\nUnused days of leave may be carried into the next year with the consent of the "
    "head of department, but not more than five, and they lapse at the end of March."
)
_PUMP = (
    "Pump P-40\nIf the pump runs dry it switches itself off. Fill the housing with clean water through the upper "
    "plug, wait a minute, then press Start for three seconds."
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What the generator is told and shown, and what its text has to look like."""

    system: str
    examples: tuple[tuple[str, str], ...]
    label: str
    """What a text may begin with that does not belong to it, as an expression."""
    is_form: Callable[[str], bool]
    least_words: int
    most_words: int
    cleaned: Callable[[str], str] = str


def _is_claim(text: str) -> bool:
    return text.endswith((".", "。", "।", "።")) and "?" not in text


def _are_keywords(text: str) -> bool:
    return bool(text) and not re.search(r"[?？؟!:：]|\A[^.。]*[.。]\s*\S+\s|[.。]\Z", text)


def _plain_keywords(text: str) -> str:
    """Keywords as somebody types them: between spaces, each once."""
    return " ".join(dict.fromkeys(re.sub(r"[,;、，；|]+", " ", text).split()))


KINDS = {
    QUESTION: Kind(
        "Write one question that the passage answers, as somebody would ask it who has not read the passage: it names "
        "what it is about. Reply with the question only.",
        (
            (_BRIDGE, "Who designed the Alder Bridge at Stenfeld?"),
            (_HANDBOOK, "How many days of leave can staff of Northwind take over into the next year?"),
            (_PUMP, "How is the P-40 pump started again after it has run dry?"),
        ),
        r"\A(?:Q|Question)\s*:\s*",
        lambda text: text.endswith(("?", "？", "؟")),
        4,
        40,
    ),
    CLAIM: Kind(
        "Write one sentence that states a fact from the passage in other words, so that it can be understood without "
        "the passage: it names what it is about. Reply with the sentence only.",
        (
            (_BRIDGE, "The engineer Ines Halloran designed the Alder Bridge over the Mura."),
            (_HANDBOOK, "Staff of Northwind lose leave that was carried over when March ends."),
            (_PUMP, "A P-40 pump that has run dry must be filled with water before it is started again."),
        ),
        r"\A(?:Claim|Fact|Statement|Sentence)\s*:\s*",
        _is_claim,
        4,
        40,
    ),
    KEYWORDS: Kind(
        "Write the three to six words that somebody would type into a search engine to find the passage. Reply with "
        "the words only, between spaces.",
        (
            (_BRIDGE, "Alder Bridge Stenfeld engineer"),
            (_HANDBOOK, "Northwind unused leave carry over deadline"),
            (_PUMP, "P-40 pump restart run dry"),
        ),
        r"\A(?:Keywords?|Search terms?|Query)\s*:\s*",
        _are_keywords,
        2,
        10,
        _plain_keywords,
    ),
}


def in_language(passage: str) -> str:
    """What tells the generator to write in a passage's language; nothing where that is English, or is not known."""
    language = language_of(passage)
    return f" Write in {language.capitalize()}, the language of the passage." if _is_other(language) else ""


def is_of_language(text: str, passage: str) -> bool:
    """Whether a text is in the passage's language, as far as its letters and words tell."""
    language = language_of(passage)
    if not _is_other(language):
        return True
    scripts = {script for script, n in script_counts(passage).items() if n} - {"latin"}
    if scripts and not scripts & {script for script, n in script_counts(text).items() if n}:
        return False
    if language_of(text) not in ("", language):
        return False
    # A small model falls back into English, with the names of the passage. Short texts hold few words that tell.
    words = text.lower().split()
    n_own, n_english = (sum(word in FUNCTION_WORDS.get(each, ()) for word in words) for each in (language, ENGLISH))
    return n_own >= n_english


def _is_other(language: str) -> bool:
    return language not in ("", ENGLISH, NO_LANGUAGE)


def summary_conversation(passage: Passage) -> Messages:
    """The conversation that asks for a summary of a long passage, about which is then written."""
    words = " ".join(withhold(passage.text).split(" ")[:SUMMARY_WORDS])
    system = "Summarise the passage in three sentences. Keep names and numbers. Reply with the summary only."
    return [
        Message(role="system", content=system + in_language(passage.text)),
        Message(role="user", content=defuse(f"{passage.title}\n{words}".strip())),
    ]
