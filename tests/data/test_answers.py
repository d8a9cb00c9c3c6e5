"""Where a known answer stands in a text."""

import pytest

from rag.data.answers import find_answers, references
from rag.data.questions import Question


@pytest.mark.parametrize(
    ("text", "answers", "places"),
    [
        ("Graz, graz and Grazer", ["graz"], [(0, 4), (6, 10)]),  # capitals do not count, parts of words do not
        ("the Amber\n  Line", ["amber line"], [(4, 16)]),  # however the words are spaced
        ("York and New York", ["New York", "York"], [(0, 4), (9, 17), (13, 17)]),  # an alias within an answer
        ("İİ in Graz", ["graz"], [(6, 10)]),  # in lower case, this capital is two characters
        ("C++ and C", ["C++"], [(0, 3)]),
        ("C++11", ["C++"], [(0, 3)]),  # an answer that ends in no letter ends anywhere
        ("14 km, 141 km", ["14"], [(0, 2)]),
        ("It is not far.", ["far away", ""], []),
        ("No, yes!", ["yes"], []),  # a judgement stands nowhere
        ("No. 5", ["No."], []),
        ("a.b", ["a.b"], [(0, 3)]),
        ("axb", ["a.b"], []),  # an answer is no pattern
    ],
)
def test_answers_are_found_as_whole_words_wherever_they_stand(text, answers, places):
    assert find_answers(text, answers) == places


def test_references_are_the_answer_and_its_aliases():
    assert references(Question("q", "", "", " Graz ", ("the city", "Graz", ""))) == ("Graz", "the city")
    assert references(Question("q", "", "", "CANNOTANSWER")) == ()
    assert references(Question("q", "", "")) == ()
