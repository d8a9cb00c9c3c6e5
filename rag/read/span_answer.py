"""What is made of the spans that a reader found: an answer, a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag.types import Answer, Hit, Passage, ReadSpan, Response


def best_span(contexts: Sequence[Hit], spans: Mapping[str, ReadSpan]) -> tuple[Passage, ReadSpan] | None:
    """The passage and the span of the largest margin; of equal ones the passage that ranks first. None without any."""
    read = [(hit.passage, spans[hit.passage.id]) for hit in contexts if hit.passage.id in spans]
    return max(read, key=lambda pair: pair[1].margin, default=None)


def span_answer(contexts: Sequence[Hit], spans: Mapping[str, ReadSpan], answer_margin: float) -> Answer | None:
    """The words of the best span, citing its passage; None where its margin is smaller, or it stands in a title.

    None, too, where it says nothing: it holds no letter and no digit, such as the mark of a comment in code. A span
    that runs over the line breaks of a wrapped text is one line.
    """
    found = best_span(contexts, spans)
    if found is None:
        return None
    passage, span = found
    words = span.text_in(passage)
    one_line = " ".join(words.split())
    says_something = any(character.isalnum() for character in words)
    return Answer(one_line, (passage.id,), words) if says_something and span.margin >= answer_margin else None


def span_json(response: Response, passage: Passage) -> dict:
    """{"span": {"start", "end", "text", "margin"}} of a passage that was read, in characters of its text; else {}."""
    span = response.spans.get(passage.id)
    if span is None:
        return {}
    return {
        "span": {"start": span.start, "end": span.end, "text": span.text_in(passage), "margin": round(span.margin, 4)}
    }
