"""Figures of one answer that need no model: words shared with references, contexts and cited passages; format leaks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rag.evaluate.metrics import normalize_answer

RIGHT_F1 = 0.5
QUESTION_WORDS = ("how many", "how much", "how", "who", "whose", "whom", "what", "when", "where", "which", "why")

_QUESTION_WORD = re.compile(rf"\b({'|'.join(QUESTION_WORDS)})\b", re.I)
_MARKERS = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]")
_LEAKS = {
    "think tags": re.compile(r"</?think>", re.I),
    "chat markup": re.compile(r"<\|[^|<>\s]{1,40}\|>|^\s*(?:system|user|assistant)\s*:?\s*$", re.I | re.M),
    "echoed prompt": re.compile(r"^\s*(?:Q|Question|A|Answer|Context|Passages?)\s*:", re.M),
}
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n{2,}")


def is_right(answer: str, references: Sequence[str], question: str = "") -> bool:
    """Whether an answer counts as right in the classes of outcomes.

    It shares half of its tokens with a reference (F1), or holds a reference whole, or is held whole by one and says
    something that the question does not; and where both hold numbers, at least one is the same. A rule of words: an
    answer in quite other words counts as wrong, and none of the means that the report shows depends on it.
    """
    return any(_agrees(answer, reference, question) for reference in references)


def _agrees(answer: str, reference: str, question: str) -> bool:
    given, wanted = _tokens(answer), _tokens(reference)
    if not given or not wanted:
        return given == wanted
    numbers, wanted_numbers = _numbers(given), _numbers(wanted)
    if numbers and wanted_numbers and not numbers & wanted_numbers:
        return False
    common = (Counter(given) & Counter(wanted)).total()
    if 2 * common / (len(given) + len(wanted)) >= RIGHT_F1 or common == len(wanted):
        return True
    return set(given) <= set(wanted) and not set(given) <= set(_tokens(question))


def _tokens(text: str) -> list[str]:
    """SQuAD's tokens, with words joined by a hyphen taken apart."""
    return normalize_answer(text.replace("-", " ")).split()


def _numbers(tokens: Sequence[str]) -> set[str]:
    return {token for token in tokens if any(ch.isdigit() for ch in token)}


def reference_token_recall(answer: str, references: Sequence[str]) -> float:
    """The share of a reference's tokens that the answer holds, of the reference where that is highest."""
    return max((_share(normalize_answer(reference), normalize_answer(answer)) for reference in references), default=0.0)


def grounded_share(answer: str, contexts: Sequence[str]) -> float | None:
    """The share of the answer's tokens that stand in the contexts; None for an answer without any token."""
    wanted = normalize_answer(answer).split()
    held = {token for text in contexts for token in normalize_answer(text).split()}
    return sum(token in held for token in wanted) / len(wanted) if wanted else None


def _share(wanted: str, held: str) -> float:
    tokens, pool = Counter(wanted.split()), Counter(held.split())
    return sum((tokens & pool).values()) / tokens.total() if tokens else float(not pool)


def format_leaks(answer: str) -> list[str]:
    """What of the machinery shows in a clean answer: think tags, chat markup, an echoed prompt."""
    return [kind for kind, pattern in _LEAKS.items() if pattern.search(answer)]


def citation_scores(citations: Sequence[str], contexts: Sequence[str], gold: set[str]) -> dict[str, float]:
    """Precision and recall of the cited passages against the gold passages in the context; {} where there are none."""
    wanted = gold.intersection(contexts)
    if not wanted:
        return {}
    found = wanted.intersection(citations)
    scores = {"citation_recall": len(found) / len(wanted)}
    if citations:
        scores["citation_precision"] = len(found) / len(citations)
    return scores


def supported_share(answer: str, cited: Sequence[str]) -> float | None:
    """The share of the cited texts that hold every token of the answer; None without a citation."""
    return sum(grounded_share(answer, [text]) == 1 for text in cited) / len(cited) if cited else None


def invented_numbers(raw: str, n_contexts: int) -> int:
    """Citation markers in a raw output that no passage of its prompt has."""
    numbers = [int(n) for marker in _MARKERS.findall(raw) for n in re.findall(r"\d+", marker)]
    return sum(not 1 <= n <= n_contexts for n in numbers)


def question_word(question: str) -> str:
    """The first question word, in lower case, or `other`."""
    match = _QUESTION_WORD.search(question)
    return match[1].lower() if match else "other"


def words_of(text: str) -> set[str]:
    """The words of a text in lower case, as they are spelled."""
    return set(re.findall(r"\w+", text.lower()))


def passages_holding(words: set[str], texts: Iterable[str]) -> Counter[str]:
    """In how many of the texts each of these words occurs; words that none holds are left out."""
    return Counter(word for text in texts for word in words & words_of(text))


def sentences(text: str) -> list[str]:
    """Sentences, roughly: split behind full stops, question and exclamation marks, and at blank lines."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def length_bin(n_words: int, edges: Sequence[int]) -> str:
    """The name of the bin that holds `n_words`: `1`, `2–5`, …, `over 20`; edges are the bins' last values."""
    low = 0
    for edge in edges:
        if n_words <= edge:
            return str(edge) if low + 1 == edge else f"{low + 1}–{edge}" if low else f"up to {edge}"
        low = edge
    return f"over {edges[-1]}"
