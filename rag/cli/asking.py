"""What a terminal shows of an answer while it grows, and of passages found."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from rag.cli.lines import answer_lines, beside_lines, hit_lines, marked_answer, response_json
from rag.progress import Spinner
from rag.terminal import Styled, show, show_json, show_piece, styled
from rag.types import Hit, Response

if TYPE_CHECKING:
    from rag.generate.growing import Growing


def show_answer(steps: Generator[Growing, None, None], *, as_json: bool, streams: bool) -> None:
    """Show an answer: with `streams` each piece as soon as it is sure, and what is done until then."""
    shown = ""
    response: Response | None = None
    with Spinner("starting") as spinner, closing(steps):
        for step in steps:
            response = step.response
            if step.status:
                spinner.say(step.status)
            if streams and step.text.startswith(shown) and step.text != shown:
                spinner.end()
                show_piece(step.text[len(shown) :])
                shown = step.text
    assert response is not None, "the last step of an answer is its response"
    if as_json:
        show_json(response_json(response))
        return
    _finish(response, shown)
    show(*map(_in_style, beside_lines(response)))


def _finish(response: Response, shown: str) -> None:
    """The rest of the answer; the whole of it where what was shown did not stay."""
    text = marked_answer(response)
    if shown and text.startswith(shown):
        show_piece(f"{text[len(shown) :]}\n")
        return
    if shown:
        show_piece("\n\n")
    show(*answer_lines(response))


def show_hits(hits: Sequence[Hit]) -> None:
    """Passages, each with its rank and title."""
    for rank, hit in enumerate(hits, 1):
        head, *rest = hit_lines(hit, rank).split("\n")
        show(*([""] if rank > 1 else []), styled(head, "strong"), *rest)


def _in_style(line: str) -> str | Styled:
    if line.startswith("*["):  # a source that is cited
        head, space, rest = line.partition("  ")
        return styled(head, "strong", space + rest)
    return styled(line, "faint") if line.startswith((" [", "(")) else line
