"""The groups that a run's figures are split by: source, intent, question word, lengths, rarity of its words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rag.data.passages import Corpus

SLICED_BY = ("source", "intent", "question_word", "passage_words", "reference_words", "rarest_word")

# The last value of every bin; what is above the last edge falls into one more bin.
PASSAGE_WORDS = (50, 100, 150, 250)
REFERENCE_WORDS = (1, 3, 8, 20)
RAREST_WORD = (1, 5, 20, 100)
BINNED = ("passage_words", "reference_words", "rarest_word")

# Longer ones first: a question with "how many" is none with "how".
QUESTION_WORDS = ("how many", "how much", "how", "who", "whose", "whom", "what", "when", "where", "which", "why")
_QUESTION_WORD = re.compile(rf"\b({'|'.join(QUESTION_WORDS)})\b", re.I)


def question_word(question: str) -> str:
    """The first question word, in lower case, or `other`."""
    match = _QUESTION_WORD.search(question)
    return match[1].lower() if match else "other"


def length_bin(n: int, edges: Sequence[int]) -> str:
    """The name of the bin that holds `n`: `1`, `2–5`, …, `over 20`; `edges` are the last values of the bins."""
    low = 0
    for edge in edges:
        if n <= edge:
            if edge == low + 1:
                return str(edge)
            return f"{low + 1}–{edge}" if low else f"up to {edge}"
        low = edge
    return f"over {edges[-1]}"


def rarest_words(questions: Mapping[str, str], corpus: Corpus) -> dict[str, str]:
    """Question id -> the bin of how many passages hold the question's rarest word.

    Only words that some passage holds count; a question without any is left out.
    """
    words = {qid: _words_of(text) for qid, text in questions.items()}
    frequency = _passages_holding(set().union(*words.values()), (passage.content for passage in corpus))
    bins = {}
    for qid, own in words.items():
        if held := [frequency[word] for word in own if word in frequency]:
            bins[qid] = length_bin(min(held), RAREST_WORD)
    return bins


def _words_of(text: str) -> set[str]:
    """The words of a text in lower case, as they are spelled."""
    return set(re.findall(r"\w+", text.lower()))


def _passages_holding(words: set[str], texts: Iterable[str]) -> Counter[str]:
    """How many of the texts hold each of these words; words that none holds are left out."""
    return Counter(word for text in texts for word in words & _words_of(text))


def groups(scores: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[Mapping[str, Any]]]:
    """The scores of questions, grouped by their value of `name`; bins by length, other values by name.

    Questions that have no such value are left out.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for score in scores:
        if value := score.get(name):
            found.setdefault(value, []).append(score)
    order = sorted(found, key=_bin_order) if name in BINNED else sorted(found)
    return {value: found[value] for value in order}


def _bin_order(name: str) -> tuple[int, str]:
    """Bins by their first number, the open one last."""
    if name.startswith("over "):
        return 1 << 30, name
    first = name.removeprefix("up to ").split("–")[0]
    return int(first), name
