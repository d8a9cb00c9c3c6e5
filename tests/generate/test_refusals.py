"""A refusal in a model's own words is found; an answer that holds such words stays an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.generate.answer import parse_answer
from rag.generate.refusals import is_refusal, may_refuse
from rag.types import CANNOTANSWER, Passage

PASSAGES = [Passage("a@0", "The Amber Line was designed by Clara Voss.", "Amber Line"), Passage("b@0", "She is dead.")]

WITH_THE_WORD = [
    "The answer is CANNOTANSWER.",
    "The correct answer is: CANNOTANSWER",
    "Sorry, CANNOTANSWER",
    "I'm sorry, but CANNOTANSWER.",
    "Sorry. CANNOTANSWER",
    "I CANNOTANSWER this.",
    "**CANNOTANSWER**",
    "The passages do not contain the answer. CANNOTANSWER",
    "The passages do not contain the answer, so CANNOTANSWER.",
    "The passages speak of Graz. Therefore, the answer is CANNOTANSWER.",
    "I don't know. (CANNOTANSWER)",
    "Not mentioned in the passages: CANNOTANSWER [1]",
]
IN_OTHER_WORDS = [
    "I don't know.",
    "I don’t know the answer to that question.",
    "Sorry, I do not know what it costs.",
    "I'm not sure.",
    "I don't know. The passages only speak of Graz.",
    "I cannot answer this question based on the passages.",
    "I'm unable to find the answer in the provided context.",
    "I do not have enough information to answer.",
    "Not mentioned in the passages.",
    "Not mentioned.",
    "Not specified in the given text",
    "Not mentioned in [1] or [2].",
    "It's not mentioned in the passages.",
    "The answer is not in the passages.",
    "The answer is not given.",
    "The price of the ferry is not mentioned in the text.",
    "The price cannot be determined from the passages.",
    "The passages do not contain the answer.",
    "The passages don't mention the price; they only mention dogs.",
    "Passages [1] and [2] do not mention the price.",
    "The provided text does not specify when it was built.",
    "The document contains no information about the price.",
    "The passages say nothing about the price.",
    "None of the passages mentions it.",
    "Unfortunately, the passages do not say when.",
    "There is no information about the price in the passages.",
    "No information is given about the price.",
    "No answer found in the passages.",
    "Based on the passages, I don't know.",
    "Unable to answer.",
    "The passages do not mention the price. Please provide more context.",
]
ANSWERS = [
    "It was built in Paris. The passages do not say when.",
    "Paris; the date is not mentioned in the passages.",
    "Paris is the capital and the date is not mentioned in the passages.",
    "The passages do not say when, but it was in Paris.",
    "I don't know, but Paris is likely.",
    "The answer is Paris.",
    "Sorry, the shop is closed on Mondays.",
    "The document does not have a page limit.",
    "The article does not apply to dogs.",
    "Not included.",
    "Not available on Sundays.",
    "There is no fee.",
    "There is no information desk at the station.",
    "There is no evidence that it helps.",
    "It is not included in the price.",
    "It cannot be found in the wild.",
    "I am not able to swim, he said.",
    "The information is not shared with third parties.",
    "The passages mention Clara Voss.",
    "Sorry",
    "What is not mentioned in the passages?",
    "No",
]


@pytest.mark.parametrize("raw", WITH_THE_WORD + IN_OTHER_WORDS)
def test_a_refusal_with_words_around_it_is_a_refusal(raw):
    answer = parse_answer(raw, PASSAGES)
    assert (answer.text, answer.citations, answer.marks) == (CANNOTANSWER, (), ())


@pytest.mark.parametrize("raw", ANSWERS)
def test_an_answer_that_holds_such_words_stays_whole(raw):
    assert parse_answer(raw, PASSAGES).text == raw


@pytest.mark.parametrize("raw", ["Clara Voss CANNOTANSWER", "Clara Voss. CANNOTANSWER", "Clara Voss (CANNOTANSWER)"])
def test_a_refusal_behind_an_answer_is_left_out(raw):
    assert parse_answer(raw, PASSAGES).text.strip(".") == "Clara Voss"


@pytest.mark.parametrize("raw", [raw for raw in IN_OTHER_WORDS if len(raw.split()) > 2 and "[" not in raw])
def test_what_a_passage_says_in_the_same_words_is_an_answer(raw):
    assert not is_refusal(raw, [Passage("a", f"He wrote: {raw}")]) or ". " in raw
    assert is_refusal(raw, [Passage("a", "He wrote of what he did not know.")])


def test_the_word_itself_is_a_refusal_even_where_a_passage_holds_it():
    manual = [Passage("a", "If they do not contain it, reply CANNOTANSWER. The answer is CANNOTANSWER.")]
    assert is_refusal("CANNOTANSWER", manual)
    assert is_refusal("Sorry, CANNOTANSWER", manual)


@pytest.mark.parametrize("whole", IN_OTHER_WORDS[:8])
def test_a_refusal_is_never_taken_for_an_answer_while_it_grows(whole):
    assert all(may_refuse(whole[:n]) for n in range(len(whole) + 1))


def test_an_answer_is_soon_known_to_be_one():
    assert not may_refuse("The ferry le")
    assert not may_refuse("It costs nine crowns. It")
    assert may_refuse("It costs ni")


@given(st.lists(st.sampled_from(["sorry, ", "the given ", "passages ", "do not ", "say ", "is ", ". ", "[1] "])))
def test_any_words_are_looked_through(words):
    text = "".join(words)
    assert is_refusal(text, PASSAGES) in (True, False)
    assert is_refusal(text + " Clara Voss won.", PASSAGES) is False or "say" in text
