"""What leaves the store of conversations: a conversation as Markdown, and judged answers as training questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rag.documents.citation import NOT_IN_DOCUMENTS, place_of
from rag.errors import DataError
from rag.files import json_line, write_whole
from rag.serve.asking import marked_text
from rag.serve.history import History, Judged
from rag.serve.turns import Turn
from rag.types import CANNOTANSWER

FEEDBACK_START = b'{"qid": "chat_'


def export_feedback(history: History, output: str | Path) -> int:
    """Write every judged answer as JSON lines that `rag train` and `rag mine` read; returns how many.

    A file that holds anything but earlier feedback is left as it is (DataError).
    """
    path = Path(output)
    if path.is_file() and not all(line.startswith(FEEDBACK_START) for line in path.read_bytes().splitlines()):
        raise DataError(f"{path} holds something else than feedback; name another file with -o")
    rows = list(feedback_questions(history))
    write_whole(path, b"".join(json_line(row) for row in rows))
    return len(rows)


def feedback_questions(history: History) -> Iterator[dict]:
    """Every judged answer of everybody as a training question in the course layout; people are not named in it.

    Conversations with files of their own are left out: those files are not among the documents that everybody searches.
    The cited passages of a liked answer are labelled 1, the others shown with it 0; all passages of a disliked answer
    are labelled 0. `liked` and `reason` are added to each question.
    """
    for judged in history.judged():
        yield _training_question(judged)


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
    """A conversation with its sources, to keep or to send."""
    lines = [f"# {_line(title)}", ""]
    for turn in turns:
        lines += [f"**{_line(turn.question)}**", ""]
        if turn.searched_for:
            lines += [f"*searched for: {_line(turn.searched_for)}*", ""]
        if turn.error:
            lines += [f"({_line(turn.error)})", ""]
        if turn.response is None or turn.response.answer is None:
            continue
        answer, contexts = turn.response.answer, turn.response.contexts
        marked = marked_text(turn.response, answer, _escaped)
        lines += [NOT_IN_DOCUMENTS if answer.abstained else marked, ""]
        for number, hit in enumerate(contexts, 1):
            if hit.passage.id in answer.citations:
                quote = "\n".join(f"    > {_escaped(line)}" for line in hit.passage.text.splitlines())
                lines += [f"- [{number}] {_line(hit.passage.title)} ({_line(place_of(hit.passage))})", "", quote, ""]
    return "\n".join(lines)


def _line(text: str) -> str:
    return _escaped(" ".join(text.split()))


def _escaped(text: str) -> str:
    """Text that means nothing in Markdown."""
    return "".join(f"\\{ch}" if ch in "\\`*_{}[]<>#|!" else ch for ch in text)
