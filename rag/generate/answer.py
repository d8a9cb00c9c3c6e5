"""The answer parser: raw model output becomes clean text with citations, or CANNOTANSWER."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from rag.generate.citations import cited_by, moved, split_citations
from rag.generate.copies import contains_words, normalized_words, telling_words
from rag.generate.markup import without_dialogue, without_markup
from rag.types import CANNOTANSWER, Answer, Passage, Span

VERDICT = re.compile(r"(?<!\s)\s*+\bAnswered by the passages:\W{0,5}(yes|no)\b(?! one).*", re.I | re.S)
LEADING_ELLIPSES = re.compile(r"\A(?:\s|…|\[…\])++")
TRAILING_ELLIPSES = re.compile(r"(?<![\s…])(?<!\[…\])(?:\s|…|\[…\])++\Z")
# An answer without citations cites a passage that holds at least this share of its words.
SHARE_OF_WORDS = 0.6


def parse_answer(raw: str, passages: Sequence[Passage], parser: str = "layered") -> Answer:
    """The clean answer in `raw`, given the passages that the prompt numbered [1]…[m].

    - `none` takes the output as it is.
    - `strip` trims whitespace; an empty answer is CANNOTANSWER.
    - `layered` removes think blocks, chat markup and, where there are passages, a transcript or questions around the
      answer. It turns the markers `[n]` into the ids of the passages and keeps their places (numbers that no passage
      has are dropped), and recognises refusals. What was copied from a passage stays text: brackets, `Q:` and `A:`,
      and words such as "cannot answer". An empty answer is CANNOTANSWER, and so is one that ends with the verdict
      `Answered by the passages: no`.
    """
    # Its expressions take long to compile, and what a span answers needs none.
    from rag.generate.refusals import is_refusal

    if parser == "none":
        return Answer(raw, (), raw)
    if parser == "strip":
        text = raw.strip()
        return Answer(text or CANNOTANSWER, (), raw)
    text = without_markup(raw)
    if passages:  # without them nothing tells an echoed question from one that was asked for
        text = without_dialogue(text, passages)
    # The second line that the prompt `decide-v1` asks for.
    if verdict := VERDICT.search(text):
        if verdict[1].lower() == "no":
            return Answer(CANNOTANSWER, (), raw)
        text = text[: verdict.start()]
    if is_refusal(text, passages):
        return Answer(CANNOTANSWER, (), raw)
    text, found = split_citations(text, passages)
    # Without its markers a text can turn out to be a refusal: "[1] cannot answer".
    if is_refusal(text, passages):
        return Answer(CANNOTANSWER, (), raw)
    start, end = _core(text)
    text, marks = text[start:end], moved(found, (start, end))
    if not any(ch.isalnum() for ch in text) or text == CANNOTANSWER:
        return Answer(CANNOTANSWER, (), raw)
    return Answer(text, cited_by(marks), raw, marks)


def _core(text: str) -> Span:
    """The answer without a refusal behind it, ellipses at its ends, which come from excerpts, and quotation marks."""
    from rag.generate.refusals import refusal_at_end

    core = TRAILING_ELLIPSES.sub("", text[: refusal_at_end(text)])
    start = len(core) - len(LEADING_ELLIPSES.sub("", core))
    answer = _unquoted(core[start:])
    start = core.index(answer, start)
    return start, start + len(answer)


def _unquoted(text: str) -> str:
    """The text without one pair of quotation marks around the whole of it."""
    text = text.strip()
    for left, right in (('"', '"'), ("“", "”"), ("'", "'")):
        if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
            return text[1:-1].strip()
    return text


def verify_citations(answer: Answer, contexts: Sequence[Passage]) -> Answer:
    """The answer with citations corrected where its words decide; `contexts` come best first.

    An answer that occurs word for word in some contexts cites those of them that the model cited, else the first of
    them. An answer in the model's own words keeps the model's citations; without any, it cites the context that holds
    most of its words, if that is at least six in ten. A citation found by words has no place in the text.
    """
    if answer.abstained or not contexts:
        return answer
    words = normalized_words(answer.text)
    if not words:
        return answer
    holding = [p.id for p in contexts if contains_words(normalized_words(p.content), words)]
    if holding:
        cited = tuple(pid for pid in answer.citations if pid in holding) or (holding[0],)
        marks = ((offset, tuple(pid for pid in ids if pid in cited)) for offset, ids in answer.marks)
        return dataclasses.replace(answer, citations=cited, marks=tuple(mark for mark in marks if mark[1]))
    if answer.citations:
        return answer
    telling = telling_words(words)
    shares = [len(telling & telling_words(normalized_words(p.content))) / len(telling) for p in contexts]
    most = max(shares)
    if most < SHARE_OF_WORDS:
        return answer
    return dataclasses.replace(answer, citations=(contexts[shares.index(most)].id,))
