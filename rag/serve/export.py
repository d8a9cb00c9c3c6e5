"""What leaves the store of conversations: a conversation as Markdown, and judged answers as training questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rag.documents.citation import NOT_IN_DOCUMENTS, place_of
from rag.errors import DataError
from rag.files import json_line
from rag.marks import with_marks
from rag.private import write_private
from rag.serve.history import History, Judged
from rag.serve.turns import Turn
from rag.serve.view.cards import find_cards, numbers_of, title_of
from rag.serve.view.turn import shown_answer
from rag.terminal import harmless
from rag.types import CANNOTANSWER

FEEDBACK_START = b'{"qid": "chat_'
_FENCE = re.compile(r"`{3,}|~{3,}")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def export_feedback(history: History, output: str | Path, *, unjudged: bool = False) -> int:
    """Write every judged answer as JSON lines that `rag train` and `rag mine` read; returns how many.

    With `unjudged` the questions that nobody judged the answers of, which `rag label` reads. A file that holds anything
    but earlier feedback is left as it is (DataError).
    """
    path = Path(output)
    if path.is_file() and not all(line.startswith(FEEDBACK_START) for line in path.read_bytes().splitlines()):
        raise DataError(f"{path} holds something else than feedback; name another file with -o")
    rows = list(unjudged_questions(history) if unjudged else feedback_questions(history))
    write_private(path, b"".join(json_line(row) for row in rows))
    return len(rows)


def feedback_questions(history: History) -> Iterator[dict]:
    """Every judged answer of everybody as a training question in the course layout; people are not named in it.

    Conversations with files of their own are left out: those files are not among the documents that everybody searches.
    The cited passages of a liked answer are labelled 1, the others shown with it 0; all passages of a disliked answer
    are labelled 0. `liked` and `reason` are added to each question.
    """
    for judged in history.judged():
        yield _training_question(judged)


def unjudged_questions(history: History) -> Iterator[dict]:
    """Every question of everybody that no judged answer follows; neither people nor answers are named in it."""
    for conversation, number, turn in history.unjudged():
        if turn.refused:  # the question itself was at fault
            continue
        yield {
            "qid": f"chat_{conversation}_{number}",
            "question": turn.question,
            "rewrite": turn.searched_for or turn.question,
            "source": "chat",
        }


def _training_question(judged: Judged) -> dict:
    turn, response = judged.turn, judged.turn.response
    answer = response.answer if response else None
    shown = (response.contexts or response.reranked) if response else ()
    cited = set(answer.citations) if judged.liked and answer else set()
    question: dict[str, object] = {
        "qid": f"chat_{judged.id}_{judged.number}",
        "question": turn.question,
        "rewrite": turn.searched_for or turn.question,
    }
    if judged.liked and answer and not (turn.narrowed and answer.text == CANNOTANSWER):
        # A refusal after a search in some collections is left out: others may hold the answer.
        question["answer"] = {"text": answer.text, "aliases": []}
    question |= {
        "evidences": [hit.passage.text for hit in shown],
        "retrieval_labels": [int(hit.passage.id in cited) for hit in shown],
        "source": "feedback",
        "liked": judged.liked,
        "reason": judged.reason,
    }
    return question


def as_markdown(title: str, turns: Sequence[Turn]) -> str:
    """A conversation with its sources, to keep or to send: its answers stay Markdown, in which no HTML comes alive."""
    lines = [f"# {_line(title)}", ""]
    for turn in turns:
        lines += [f"**{_line(turn.question)}**", ""]
        if turn.searched_for:
            lines += [f"*searched for: {_line(turn.searched_for)}*", ""]
        lines += _answer_lines(turn)
    return "\n".join(lines)


def _answer_lines(turn: Turn) -> Iterator[str]:
    if turn.error:
        yield from (f"({_line(turn.error)})", "")
    answer = shown_answer(turn)
    if answer is None:
        if turn.stopped or not turn.done:
            yield from ("(stopped before there was an answer)", "")
        elif not turn.error:
            yield from (NOT_IN_DOCUMENTS, "")
        return
    cards = find_cards(turn, answer)
    numbers = numbers_of(cards)
    yield from (without_html(with_marks(answer, lambda pid: f"[{numbers[pid]}]" if pid in numbers else "")), "")
    if turn.stopped or not turn.done:
        yield from ("(stopped)", "")
    for card in cards:
        if card.is_cited:
            passage = card.hit.passage
            place = place_of(passage) if passage.place else passage.source
            named = _line(title_of(passage, card.n)) + (f" ({_line(place)})" if place else "")
            quote = "\n".join(f"    > {_escaped(line)}" for line in (card.sentence_text or passage.text).splitlines())
            yield from (f"- [{card.n}] {named}", "", quote, "")


def without_html(markdown: str) -> str:
    """Markdown in which no HTML and no picture comes alive, in whatever shows it; what else it means stays.

    Only blocks of code that are fenced at the beginning of a line stay as they are: others may end before they seem to.
    """
    lines, fence = [], ""
    for line in harmless(markdown).split("\n"):
        match = _FENCE.match(line)
        if fence:
            fence = "" if _closes(line, fence) else fence
        elif match and not (line[0] == "`" and "`" in line[match.end() :]):
            fence = match[0]
            line = line[: match.end()] + _plain(line[match.end() :])
        else:
            line = _plain(line)
        lines.append(line)
    return "\n".join([*lines, *([fence] if fence else [])])


def _closes(line: str, fence: str) -> bool:
    """Whether a line ends a block of code: a fence as long as its own, hardly indented, with nothing behind it."""
    bare = line.strip(" \t")
    return len(bare) >= len(fence) and not bare.strip(fence[0]) and not line.startswith((" " * 4, "\t"))


def _plain(line: str) -> str:
    return _TAG.sub("&lt;", line).replace("![", "!\\[")


def _line(text: str) -> str:
    return _escaped(" ".join(text.split()))


def _escaped(text: str) -> str:
    """Text that means nothing in Markdown, nor to a terminal."""
    return "".join(f"\\{ch}" if ch in "\\`*_{}[]<>#|!" else ch for ch in harmless(text))
