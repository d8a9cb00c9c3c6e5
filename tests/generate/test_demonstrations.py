"""Which answered questions are shown with a question, worked by hand, and how they reach the model."""

import dataclasses

import pytest

from rag.build import parts as build
from rag.config import load_settings
from rag.errors import DataError
from rag.generate.builtin import BUILT_IN
from rag.generate.demonstrations import MAX_ANSWER_WORDS, MAX_CHARACTERS, Demonstration, Demonstrations
from rag.types import Passage

ANSWERED = [
    Demonstration("What is the cure for scurvy?", "Lemons and limes."),
    Demonstration("What is the cure for rickets?", "Sunlight."),
    Demonstration("Who built the bridge?", "Clara Voss"),
    Demonstration("What is the cure for boredom?", "Sunlight."),
]


def questions_of(demonstrations):
    return [each.question for each in demonstrations]


def test_the_likest_are_shown_the_likest_last():
    # Five words in common and seven in either with three of them; an answer that was shown is passed over.
    chosen = Demonstrations(ANSWERED, n=2).like("What is the cure for gout?")
    assert questions_of(chosen) == ["What is the cure for rickets?", "What is the cure for scurvy?"]


def test_an_answer_is_shown_once():
    chosen = Demonstrations(ANSWERED, n=3, min_likeness=0.1).like("What is the cure for gout?")
    assert [each.answer for each in chosen] == ["Clara Voss", "Sunlight.", "Lemons and limes."]


def test_none_is_shown_that_is_not_like_the_question():
    question = "What is the cure for gout?"  # "the" is one word of nine in it or in "Who built the bridge?"
    assert len(Demonstrations(ANSWERED, n=3, min_likeness=0.11).like(question)) == 3
    assert len(Demonstrations(ANSWERED, n=3, min_likeness=0.12).like(question)) == 2
    assert len(Demonstrations(ANSWERED, n=3, min_likeness=0.71).like(question)) == 2
    assert Demonstrations(ANSWERED, n=3, min_likeness=0.72).like(question) == []


def test_a_question_is_not_shown_its_own_answer():
    assert questions_of(Demonstrations(ANSWERED, n=1).like("the cure for scurvy: what is it")) == [ANSWERED[0].question]
    assert ANSWERED[0].question not in questions_of(Demonstrations(ANSWERED).like("For scurvy, what is the cure?"))


@pytest.mark.parametrize("question", ["", "???", "Ubi sunt?"])
def test_a_question_without_a_word_in_common_gets_none(question):
    assert Demonstrations(ANSWERED, min_likeness=0).like(question) == []


def test_long_answers_are_cut():
    (shown,) = Demonstrations([Demonstration("why so", "word " * 200)]).like("why?")
    assert len(shown.answer.split()) == MAX_ANSWER_WORDS
    (shown,) = Demonstrations([Demonstration("why so", "因" * 5000)], min_likeness=0).like("why?")
    assert len(shown.answer) == MAX_CHARACTERS


def test_they_are_turns_without_passages_before_the_question():
    demonstrations = Demonstrations([Demonstration("Why <|im_end|>?", "Because <|im_end|>.")], min_likeness=0.2)
    prompt = dataclasses.replace(BUILT_IN["extract-v1"], demonstrations=demonstrations)
    _, asked, answered, last = prompt.conversation("Why not?", [Passage("a", "It rains.")])
    assert (asked["role"], answered["role"]) == ("user", "assistant")
    assert asked["content"] == "Question: Why < |im_end|>?"
    assert answered["content"] == "Because < |im_end|>."
    assert last["content"] == "[1] It rains.\n\nQuestion: Why not?"
    assert prompt.conversation("Where?", [])[1:] == BUILT_IN["extract-v1"].conversation("Where?", [])[1:]


def test_what_decides_what_is_shown_is_part_of_the_prompts_hash():
    ways = [
        None,
        Demonstrations(ANSWERED),
        Demonstrations(ANSWERED[1:]),
        Demonstrations(ANSWERED, n=2),
        Demonstrations(ANSWERED, min_likeness=0.6),
    ]
    prompts = [dataclasses.replace(BUILT_IN["extract-v1"], demonstrations=way) for way in ways]
    assert len({prompt.sha256() for prompt in prompts}) == len(ways)
    assert prompts[0].sha256() == BUILT_IN["extract-v1"].sha256()


def test_they_are_read_from_the_file_that_the_settings_name_without_its_refusals(tmp_path):
    path = tmp_path / "train.txt"
    rows = '{"qid": "1", "question": "Why?", "answer": {"text": "It rains.", "aliases": []}}\n'
    path.write_text(rows + '{"qid": "2", "question": "When?", "answer": {"text": "CANNOTANSWER", "aliases": []}}\n')
    prompt = build.make_prompt(load_settings(None, [f"prompt.demonstrations={path}"]))
    assert prompt.demonstrations.answered == (Demonstration("Why?", "It rains."),)
    path.write_text('{"qid": "2", "question": "When?"}\n')
    with pytest.raises(DataError, match="no question with its answer"):
        build.make_prompt(load_settings(None, [f"prompt.demonstrations={path}"]))
    with pytest.raises(DataError, match="does not exist"):
        build.make_prompt(load_settings(None, [f"prompt.demonstrations={tmp_path / 'none'}"]))
