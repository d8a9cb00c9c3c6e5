"""Turns of a conversation."""

from rag.serve.turns import Turn
from rag.types import Answer, Hit, Passage, Place, Query, Response

HITS = (
    Hit(Passage("a@0", "The ferry leaves at noon.", "Ferry", "m/a.pdf", Place(3, 28, 2)), 4.5),
    Hit(Passage("b@0", "Dogs are <b>free</b>.", "Dogs"), 1.0),
)


def turn(question, text="at noon", citations=("a@0",), **more):
    answer = Answer(text, citations, "raw")
    return Turn(question, response=Response(Query("chat", question), (), HITS, HITS, answer), done=True, **more)
