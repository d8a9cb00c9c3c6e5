"""Figures of one answer, worked by hand."""

import pytest

from rag.evaluate.answers import (
    citation_scores,
    format_leaks,
    grounded_share,
    invented_numbers,
    is_right,
    reference_token_recall,
    sentences,
    supported_share,
)


@pytest.mark.parametrize(
    ("answer", "reference", "question"),
    [
        ("Photosynthesis.", "photosynthesis", "What process is it?"),
        ("The queen told the priest.", "the priest", "Whom did she tell?"),  # holds the reference whole
        ("8", "It peaked at number 8 in New Zealand.", "What was its rank?"),  # is held by it
        ("13", "a 13-episode order", "How many episodes were ordered?"),
        ("Apsley Cherry-Garrard", "Apsley George Benet Cherry-Garrard", "Who wrote it?"),
        ("The key '+' does.", "+", "Which key raises it?"),  # signs alone
        ("vitamin A.", "A", "Which vitamin?"),  # an article, for SQuAD's rule
        ("", "", ""),
    ],
)
def test_answers_that_are_right(answer, reference, question):
    assert is_right(answer, [reference], question)
    assert is_right(answer, ["something else", reference], question)


@pytest.mark.parametrize(
    ("answer", "reference", "question"),
    [
        ("1347", "1349", "When did it land?"),
        ("3 million people", "5 million people", "How many live there?"),  # F1 is two thirds
        (
            "Febrile seizures",
            "Febrile seizures are convulsions in infants that are brought on by a fever.",
            "What are febrile seizures?",
        ),
        ("Los Angeles", "Hawaii", "Where does he live?"),
        ("", "Hawaii", "Where does he live?"),
        ("the", "a whole sentence of many words", "What?"),  # articles are nothing
        ("", "+", "Which key raises it?"),
        ("-", "+", "Which key raises it?"),
        ("the minus key", "+", "Which key raises it?"),
        ("an", "A", "Which vitamin?"),
    ],
)
def test_answers_that_are_wrong(answer, reference, question):
    assert not is_right(answer, [reference], question)


def test_reference_tokens_count_as_often_as_they_stand_there():
    assert reference_token_recall("new york", ["new york new york"]) == 0.5
    assert reference_token_recall("york", ["graz", "new york"]) == 0.5
    assert reference_token_recall("york", []) == 0


def test_grounded_tokens_stand_in_any_context():
    assert grounded_share("the old bridge of Graz", ["An old bridge.", "In Graz"]) == 0.75
    assert grounded_share("The", ["x"]) is None


def test_a_cited_text_supports_an_answer_that_it_holds_whole():
    assert supported_share("old bridge", ["the bridge is old", "a bridge"]) == 0.5
    assert supported_share("old bridge", []) is None


def test_leaks_are_named():
    assert format_leaks("Graz") == []
    assert format_leaks("<think>Graz") == ["think tags"]
    assert format_leaks("Graz<|im_end|>") == ["chat markup"]
    assert format_leaks("Graz\nassistant\n") == ["chat markup"]
    assert format_leaks("Graz\nQuestion: where?") == ["echoed prompt"]
    assert format_leaks("The assistant: a novel") == []


def test_citations_against_the_gold_passages_in_the_context():
    assert citation_scores(["a", "b"], ["a", "b", "c"], {"a", "c", "z"}) == {
        "citation_recall": 0.5,
        "citation_precision": 0.5,
    }
    assert citation_scores([], ["a"], {"a"}) == {"citation_recall": 0}
    assert citation_scores(["a"], ["a"], {"z"}) == {}


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("6371000.0 meters", "6371000", True),
        ("1,438.20 dollars", "$1438.2", True),
        ("3.50 m", "3.5 m", True),
        ("3.5", "35", False),
        ("35 million people", "3.5 million people", False),
        ("1.2.3", "123", False),
    ],
)
def test_numbers_are_compared_by_value(answer, reference, right):
    assert is_right(answer, [reference]) == right


def test_numbers_that_no_context_has():
    assert invented_numbers("Graz [1] [4] [0; 2,9]", 3) == 3
    assert invented_numbers("Graz", 0) == 0


def test_sentences_end_at_stops_and_blank_lines():
    assert sentences('One. Two? "Three!" Four\nmore\n\nFive') == ["One.", "Two?", '"Three!', "Four\nmore", "Five"]
