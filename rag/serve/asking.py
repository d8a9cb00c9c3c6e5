"""One question answered whole, as a record: for the page's own endpoint and for the tools of assistants."""

from __future__ import annotations

import collections
from collections.abc import Callable

from rag.documents.citation import NOT_IN_DOCUMENTS, place_of
from rag.errors import RagError
from rag.generate.support import support_json
from rag.marks import with_marks
from rag.read.span_answer import span_json
from rag.serve.chat import Chat
from rag.serve.source_pages import source_link
from rag.serve.turns import Options, Turn, outcome
from rag.serve.users import RateLimit
from rag.types import Answer, Response


def answer_once(chat: Chat, options: Options, limit: RateLimit, who: str, question: str) -> dict:
    """The answer to a standalone question: {"answer": …, "marked": …, "citations": […], "abstained": …}.

    `marked` is the answer with the numbers of its citations at their places. `support` is there where answers are
    checked.

    Raises RagError where `who` asks too fast, or with what the chat would say about a failure.
    """
    if (seconds := limit.wait_seconds(who)) > 0:
        raise RagError(f"too many questions in a minute; ask again in {seconds:.0f} s")
    (turn,) = collections.deque(chat.ask(question, (), options), maxlen=1)
    return answer_record(turn)


def answer_record(turn: Turn) -> dict:
    """The record of a turn that is done, as `answer_once` returns it; raises RagError with the error of the turn."""
    if turn.error:
        raise RagError(turn.error)
    response, answer = outcome(turn)
    text, marked = answer.text, marked_text(response, answer)
    if answer.abstained:
        text = marked = NOT_IN_DOCUMENTS
    return {"answer": text, "marked": marked, **citations_record(response, answer)}


def marked_text(response: Response, answer: Answer, shown: Callable[[str], str] = str) -> str:
    """The answer with the numbers of its citations, as in the prompt, at their places: "At noon [1].".

    `shown` writes a piece of the text.
    """
    numbers = {hit.passage.id: f"[{number}]" for number, hit in enumerate(response.contexts, 1)}
    return with_marks(answer, lambda pid: numbers.get(pid, ""), shown)


def citations_record(response: Response, answer: Answer) -> dict:
    """The cited passages of an answer, numbered as in the prompt, whether it abstained, and its support if checked."""
    cited = [
        {
            "number": number,
            "id": hit.passage.id,
            "title": hit.passage.title or hit.passage.id,
            "source": place_of(hit.passage),
            "text": hit.passage.text,
            "link": source_link(hit.passage.id),
            **span_json(response, hit.passage),
        }
        for number, hit in enumerate(response.contexts, 1)
        if hit.passage.id in answer.citations
    ]
    return {"citations": cited, "abstained": answer.abstained, **support_json(response)}
