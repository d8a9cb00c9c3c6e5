"""A transcript or questions around an answer go; those that a passage holds stay."""

import pytest

from rag.generate.answer import parse_answer
from rag.types import Passage

FAQ = Passage("faq@0", "Q: May dogs travel?\nA: Yes, free of charge.\n\nQ: And bicycles?\nA: They cost nine crowns.")
LOG = Passage("log@0", "The log shows:\nuser\nIs it on?\nassistant\nIt is on.")
CAST = Passage("cast@0", "Assistant: Clara Voss\nUser: Tom Hale")
PASSAGES = [Passage("a@0", "Paris is the capital of France."), FAQ, LOG, CAST]


@pytest.mark.parametrize(
    "raw",
    [
        "system\nYou are precise.\nuser\nWhat is the capital?\nassistant\nParis",
        "system … user … assistant\nParis",
        "System: be brief\nUser: What is the capital?\nAssistant: Paris",
        "user\nWhat is the capital?\nassistant\nParis\nuser\nAnd Germany?\nassistant\n",
        "assistant\nParis",
        "Q: What is the capital? A: Paris",
        "Q: the capital\nA: Paris",
        "Question: What is the capital?\n\nAnswer: Paris",
        "Q: What is the capital?\nA: Paris\n\nQ: And of Germany?\nA: Berlin",
        "Paris\n\nQ: And Germany?",
        "Paris\nQuestion 2: And Germany?\nAnswer: Berlin",
        "A: Paris\n\nQ: And Germany?",
        "Paris\n\nHuman: And Germany?",
        "Paris\nuser\nAnd Germany\nassistant\nBerlin",
        "system\nYou are precise.\nuser\n[1] The log shows:\nuser\nIs it on?\nassistant\nIt is on.\n\n"
        "What is the capital?\nassistant\nParis",
    ],
)
def test_the_answer_is_taken_out_of_the_dialogue(raw):
    assert parse_answer(raw, PASSAGES).text == "Paris"
    assert parse_answer(f"{raw} [1]" if raw.endswith("Paris") else raw, PASSAGES).text == "Paris"


@pytest.mark.parametrize(
    "raw",
    [
        "Q: May dogs travel?\nA: Yes, free of charge.",
        "Q: May dogs travel? A: Yes, free of charge.",
        "Yes, free of charge.\n\nQ: And bicycles?\nA: They cost nine crowns.",
        "Dogs travel free.\n\nQ: And bicycles?\nA: They cost nine crowns.",
        "**Q: And bicycles?**\nA: They cost nine crowns.",
        "user\nIs it on?\nassistant\nIt is on.",
        "Assistant: Clara Voss\nUser: Tom Hale",
    ],
)
def test_a_dialogue_that_a_passage_holds_stays_whole(raw):
    assert parse_answer(raw, PASSAGES).text == raw
    assert parse_answer(raw, PASSAGES[:1]).text != raw or raw.startswith("**")


@pytest.mark.parametrize(
    "raw",
    [
        "Q: is a letter",
        "Roles:\nuser\nadmin",
        "a line\nassistant\nanother line",
        "The user asks, the assistant answers.",
    ],
)
def test_words_of_a_dialogue_alone_are_text(raw):
    assert parse_answer(raw, PASSAGES).text == raw


def test_without_passages_a_question_is_what_was_asked_for():
    assert parse_answer("Q: Where did she study?\nA: Graz", ()).text == "Q: Where did she study?\nA: Graz"
