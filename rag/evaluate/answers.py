"""Figures of one answer that need no model: shared words, citations, and format leaks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rag.evaluate.metrics import normalize_answer

RIGHT_F1 = 0.5

_MARKERS = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]")
_LEAKS = {
    "think tags": re.compile(r"</?think>", re.I),
    "chat markup": re.compile(
        r"<\|[^|<>\s]{1,40}\|>|^[^\S\n]*+(?:system|user|assistant)[^\S\n]*+:?[^\S\n]*+$", re.I | re.M
    ),
    "echoed prompt": re.compile(r"^[^\S\n]*+(?:Q|Question|A|Answer|Context|Passages?)[^\S\n]*+:", re.M),
}
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n{2,}|(?<=[。！？।؟۔])\s*")


def is_right(answer: str, references: Sequence[str], question: str = "") -> bool:
    """Whether an answer counts as right in the classes of outcomes.

    It is right if, for any reference, its token F1 is at least one half, or it contains the whole reference, or the
    reference contains the whole answer and the answer says something that the question does not. Where both contain
    numbers, at least one must be the same. The rule compares words only: a right answer in other words counts as wrong.
    """
    return any(_agrees(answer, reference, question) for reference in references)


def _agrees(answer: str, reference: str, question: str) -> bool:
    given, wanted = _tokens(answer), _tokens(reference)
    if not wanted:  # "+", or "A", of which SQuAD's rule leaves nothing
        signs, given_signs = _signs(reference), _signs(answer)
        return signs <= given_signs if signs else not given_signs
    if not given:
        return False
    # "3 million people" shares most words with "5 million people": numbers decide first.
    numbers, wanted_numbers = _numbers(given), _numbers(wanted)
    if numbers and wanted_numbers and not numbers & wanted_numbers:
        return False
    common = (Counter(given) & Counter(wanted)).total()
    f1 = 2 * common / (len(given) + len(wanted))
    holds_reference = common == len(wanted)
    if f1 >= RIGHT_F1 or holds_reference:
        return True
    only_repeats_the_question = set(given) <= set(_tokens(question))
    return set(given) <= set(wanted) and not only_repeats_the_question


def _signs(text: str) -> set[str]:
    return {word.strip("\"'`“”„.,") for word in text.casefold().split()} - {""}


def _tokens(text: str) -> list[str]:
    """SQuAD's tokens; hyphenated words are split, and equal numbers are written alike: 1,000.0 and 1000."""
    return normalize_answer(_NUMBER.sub(_plain_number, text.replace("-", " "))).split()


def _plain_number(match: re.Match) -> str:
    """A number without commas between thousands and without zeros behind the point.

    Punctuation is no part of SQuAD's tokens, so that a point that stays becomes a letter: else 3.5 would be 35.
    """
    text = match[0]
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    parts = re.split("[.,]", text)
    if len(parts) == 2:
        parts = [part for part in (parts[0], parts[1].rstrip("0")) if part]
    return "p".join(parts)


def _numbers(tokens: Sequence[str]) -> set[str]:
    return {token for token in tokens if any(ch.isdigit() for ch in token)}


def reference_token_recall(answer: str, references: Sequence[str]) -> float:
    """The share of a reference's tokens that the answer contains; the highest over the references, 0 without any."""
    return max((_share(normalize_answer(reference), normalize_answer(answer)) for reference in references), default=0.0)


def _share(wanted: str, held: str) -> float:
    tokens, pool = Counter(wanted.split()), Counter(held.split())
    if not tokens:
        return float(not pool)
    return (tokens & pool).total() / tokens.total()


def grounded_share(answer: str, contexts: Sequence[str]) -> float | None:
    """The share of the answer's tokens that occur in the contexts; None for an answer without tokens."""
    wanted = normalize_answer(answer).split()
    if not wanted:
        return None
    held = {token for text in contexts for token in normalize_answer(text).split()}
    return sum(token in held for token in wanted) / len(wanted)


def format_leaks(answer: str) -> list[str]:
    """The kinds of machinery that show in a parsed answer: think tags, chat markup, an echoed prompt."""
    return [kind for kind, pattern in _LEAKS.items() if pattern.search(answer)]


def citation_scores(citations: Sequence[str], contexts: Sequence[str], gold: set[str]) -> dict[str, float]:
    """`citation_recall` and, if anything is cited, `citation_precision` against the gold passages among `contexts`.

    {} where no gold passage is in the context: then no citation could be right.
    """
    wanted = gold.intersection(contexts)
    if not wanted:
        return {}
    found = wanted.intersection(citations)
    scores = {"citation_recall": len(found) / len(wanted)}
    if citations:
        scores["citation_precision"] = len(found) / len(citations)
    return scores


def supported_share(answer: str, cited: Sequence[str]) -> float | None:
    """The share of the cited texts that contain every token of the answer; None without a citation."""
    if not cited:
        return None
    return sum(grounded_share(answer, [text]) == 1 for text in cited) / len(cited)


def invented_numbers(raw: str, n_contexts: int) -> int:
    """How many citation numbers in a raw output are not numbers of the `n_contexts` passages in its prompt."""
    numbers = [int(digits) for marker in _MARKERS.findall(raw) for digits in re.findall(r"\d+", marker)]
    return sum(not 1 <= n <= n_contexts for n in numbers)


def sentences(text: str) -> list[str]:
    """The sentences of a text, roughly: split after full stops, question and exclamation marks, and at blank lines."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]
