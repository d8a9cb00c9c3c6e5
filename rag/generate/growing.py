"""An answer while it grows: what is being done, and the beginning of its text that the parser will leave as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rag.generate.citations import cited_by, moved, split_citations
from rag.generate.copies import contains_words, normalized_words
from rag.marks import with_marks
from rag.scripts import whole_words
from rag.types import Answer, Response

# The parser may still remove text from here on, or turn the answer into a refusal: not sent before the answer is whole.
_UNSURE = re.compile(
    r"[<\[]|\A\W|\A(?:A|Answer|Q|Question|system|user|human|assistant)\b|cannot|CANNOT|Answered by"
    r"|\n[^\S\n]*+(?:Q|Question|system|user|human|assistant)(?:\b|\d)",
    re.I,
)
_HELD_BACK_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Growing:
    """One step of an answer: what is done now, the text that is sure so far, and at the end the whole response."""

    status: str = ""
    text: str = ""
    response: Response | None = None


def growing(snapshots: Iterable[Response]) -> Iterator[Growing]:
    """The steps of one answer, from growing snapshots of its response as `Pipeline.stream` makes them."""
    last: Response | None = None
    written: Response | None = None  # one behind: the last one is parsed, and is not the beginning of anything
    for last in snapshots:
        if last.answer is None:
            yield Growing("writing" if last.reranked else "comparing passages")
            continue
        if written is not None:
            yield Growing("writing", sure_text(written))
        written = last
    yield Growing(response=last)


def surely(text: str) -> str:
    """The beginning of an unfinished answer that the parser will leave as it is: whole words, none of them risky."""
    from rag.generate.refusals import may_refuse  # its expressions take long to compile, and many answers need none

    if may_refuse(text):
        return ""
    match = _UNSURE.search(text)
    held = text[: match.start()] if match else text[:-_HELD_BACK_CHARACTERS]
    return whole_words(held)


def sure_text(response: Response) -> str:
    """As `surely` of the answer so far, with the marks of citations at their places."""
    if response.answer is None:
        return ""
    text, passages = response.answer.text, [hit.passage for hit in response.contexts]
    plain, marks = split_citations(text, passages)
    sure = surely(plain)
    words = normalized_words(sure)
    if marks and any(contains_words(normalized_words(passage.content), words) for passage in passages):
        # All of it stands in a passage so far. If it ends so, that passage is what is cited, whatever was marked.
        sure = sure[: marks[0][0]]
    kept = moved([mark for mark in marks if mark[0] < len(sure)], (0, len(sure)))
    numbers = {hit.passage.id: f"[{number}]" for number, hit in enumerate(response.contexts, 1)}
    return with_marks(Answer(sure, cited_by(kept), text, kept), lambda pid: numbers.get(pid, ""))
