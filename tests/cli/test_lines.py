"""What a terminal shows of an answer, and its JSON."""

from rag.cli.lines import response_json, response_lines
from rag.types import CANNOTANSWER, Answer, Hit, Passage, Query, Response

HITS = tuple(Hit(Passage(name, f"passage {name}"), 1.0) for name in "ab")


def response(text, citations=(), marks=()):
    return Response(Query("q", "when?"), HITS, HITS, HITS, Answer(text, citations, text, marks))


def test_citations_stand_at_their_places_and_those_without_one_at_the_end():
    placed = response("Early. Dogs too.", ("b", "a"), ((5, ("b",)),))
    assert response_lines(placed)[0] == "Early [2]. Dogs too. [1]"
    assert response_lines(response("Early.", ("b", "a")))[0] == "Early. [2] [1]"
    assert response_lines(response(CANNOTANSWER))[0] == "Not in these documents."


def test_json_has_the_clean_text_and_the_places_beside_it():
    record = response_json(response("Early. Dogs too.", ("b", "a"), ((5, ("b",)),)))
    assert (record["answer"], record["citations"]) == ("Early. Dogs too.", ["b", "a"])
    assert record["marks"] == [[5, ["b"]]]
