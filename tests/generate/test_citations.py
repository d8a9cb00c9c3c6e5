"""A citation stays where the model put it: its place is kept beside the clean text, and shown again."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.generate.answer import parse_answer, verify_citations
from rag.marks import with_marks
from rag.types import CANNOTANSWER, Answer, Passage

PASSAGES = [
    Passage("a", "The ferry sails at nine in the morning."),
    Passage("b", "Dogs travel free."),
    Passage("c", "See page [4] of the list."),
]


def shown(answer):
    return with_marks(answer, lambda pid: f"[{'abc'.index(pid) + 1}]")


@pytest.mark.parametrize(
    ("raw", "text", "marks", "as_shown"),
    [
        ("It sails early [1]. Dogs are free [2].", "It sails early. Dogs are free.", ((14, "a"), (29, "b")), None),
        ("It sails early.[1] Dogs too.[2]", "It sails early. Dogs too.", ((15, "a"), (25, "b")), "… [1] Dogs too. [2]"),
        ("Early [2][1], says he", "Early, says he", ((5, "ba"),), "Early [2] [1], says he"),
        ("Early [2, 1], says he", "Early, says he", ((5, "ba"),), "Early [2] [1], says he"),
        ("[2] Dogs go.\n[1] Early.", "Dogs go.\n Early.", ((0, "b"), (9, "a")), "[2] Dogs go.\n[1] Early."),
        ("“Early [1] or late” [2]", "Early or late", ((5, "a"), (13, "b")), "Early [1] or late [2]"),
        ("… it is early [1] … CANNOTANSWER", "it is early", ((11, "a"),), "it is early [1]"),
        ("Early [7], dogs [2]", "Early, dogs", ((11, "b"),), "Early, dogs [2]"),
        ("See page [4] of it [3].", "See page [4] of it.", ((18, "c"),), "See page [4] of it [3]."),
        ("It (the ferry [1]) sails", "It (the ferry) sails", ((13, "a"),), "It (the ferry [1]) sails"),
    ],
)
def test_a_citation_stays_where_the_model_put_it(raw, text, marks, as_shown):
    answer = parse_answer(raw, PASSAGES)
    assert answer.text == text
    assert answer.marks == tuple((offset, tuple(ids)) for offset, ids in marks)
    assert shown(answer).endswith((as_shown or raw).lstrip("… "))


def test_citations_are_each_named_once_in_the_order_of_the_text():
    assert parse_answer("Dogs [2] sail early [1], dogs [2].", PASSAGES).citations == ("b", "a")


def test_a_citation_without_a_place_stands_at_the_end():
    assert shown(Answer("Early. Late", ("b", "a"))) == "Early. Late [2] [1]"
    assert shown(Answer("Early. Late", ("b", "a"), marks=((5, ("a",)),))) == "Early [1]. Late [2]"
    assert Answer("Early").pieces() == [("Early", ())]


def test_a_citation_found_by_words_has_no_place():
    found = verify_citations(parse_answer("Dogs travel free", PASSAGES), PASSAGES)
    assert (found.citations, found.marks) == (("b",), ())
    corrected = verify_citations(parse_answer("Dogs [1] travel free", PASSAGES), PASSAGES)
    assert (corrected.citations, corrected.marks) == (("b",), ())
    assert shown(corrected) == "Dogs travel free [2]"


def test_a_citation_that_words_confirm_keeps_its_place_and_the_others_go():
    answer = verify_citations(parse_answer("Dogs [1][2] travel [2] free", PASSAGES), PASSAGES)
    assert (answer.citations, answer.marks) == (("b",), ((4, ("b",)), (11, ("b",))))
    own_words = parse_answer("Early birds [1] and hounds [2] pay nothing", PASSAGES)
    assert verify_citations(own_words, PASSAGES) == own_words


def test_what_has_no_mark_is_not_shown():
    answer = Answer("Early. Late", ("a", "b"), marks=((5, ("a",)),))
    assert with_marks(answer, lambda pid: "", str.upper) == "EARLY. LATE"


WORDS = st.lists(st.text(string.ascii_letters, min_size=1, max_size=5), min_size=1, max_size=6)


@given(WORDS, st.lists(st.integers(1, 4), max_size=6))
def test_places_lie_in_the_text_and_hold_what_is_cited(words, numbers):
    parts = [f"{word} [{n}]" for word, n in zip(words, numbers, strict=False)] + words[len(numbers) :]
    # No passage holds a bracket: one behind the same letters would be taken for a copy.
    answer = parse_answer(" ".join(parts), [*PASSAGES[:2], Passage("c", "The list has four pages.")])
    assert "".join(text for text, _ in answer.pieces()) == answer.text
    if answer.text != CANNOTANSWER:
        assert answer.text == " ".join(words)
        assert {pid for _, cited in answer.marks for pid in cited} == set(answer.citations)
        assert [offset for offset, _ in answer.marks] == sorted({offset for offset, _ in answer.marks})
