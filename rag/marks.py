"""An answer with the marks of its citations at their places."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rag.types import Answer

_OPENING_MARKS = "([{“‘«$€£#"


def marked_parts(answer: Answer, is_shown: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """The answer's text and its citations in order: (text, "") or ("", id of the passage that is cited there).

    A space sets a mark off from words. A citation that is not shown leaves no trace.
    """
    before, is_marked = "", False  # the last character of the text so far, and whether a mark stands behind it
    for text, cited in answer.pieces():
        if text:
            if is_marked and (text[0].isalnum() or text[0] in _OPENING_MARKS):
                yield " ", ""
            yield text, ""
            before, is_marked = text[-1], False
        for pid in filter(is_shown, cited):
            if is_marked or (before and not before.isspace()):
                yield " ", ""
            yield "", pid
            is_marked = True


def with_marks(answer: Answer, mark: Callable[[str], str], shown: Callable[[str], str] = str) -> str:
    """The answer with a mark for each citation at its place.

    `mark` writes the mark of a passage id, "" for none; `shown` writes a piece of the text.
    """
    parts = marked_parts(answer, lambda pid: bool(mark(pid)))
    return "".join(mark(pid) if pid else shown(text) for text, pid in parts)
