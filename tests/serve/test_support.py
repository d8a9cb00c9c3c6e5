"""How far an answer is supported: below it on the page, in the API's record, in `rag ask`."""

import dataclasses

import pytest

from rag.cli.lines import response_json, response_lines
from rag.serve.asking import citations_record
from rag.serve.history import History
from rag.serve.view import turn_view
from rag.types import CANNOTANSWER, Answer, Support
from tests.fakes.conversations import turn

CHECKED = Support(("a@0",), 3.25, 1.0)


def checked(support=CHECKED, **more):
    plain = turn("when does the ferry leave", **more)
    return dataclasses.replace(plain, response=dataclasses.replace(plain.response, support=support))


def said(turn):
    return turn_view(turn, number=1)["support"]


def test_the_page_says_it_in_a_small_line_with_the_score_behind_it():
    shown = said(checked())
    assert shown["text"] == "Word for word in [1]"
    assert "agrees by 100%. Score 13.2; higher is better." in shown["detail"]
    assert said(checked(Support((), -1.0, 0.0)))["text"] == "Only weakly supported by [1]"


@pytest.mark.parametrize("more", [{"stopped": True}, {"support": None}])
def test_the_page_says_nothing_of_what_was_stopped_or_not_checked(more):
    assert said(checked(**more)) is None


def test_a_record_and_the_json_of_ask_hold_it():
    expected = {
        "line": "supported by [1], word for word",
        "word_for_word": [1],
        "score": 13.25,
        "logit": 3.25,
        "agreement": 1.0,
    }
    response = checked().response
    assert citations_record(response, response.answer)["support"] == expected
    assert response_json(response)["support"] == expected
    plain = checked(None).response
    assert "support" not in citations_record(plain, plain.answer)
    assert "support" not in response_json(plain)


def test_ask_shows_one_short_line_below_the_answer():
    lines = response_lines(checked().response)
    assert lines[:3] == ["at noon [1]", "(supported by [1], word for word)", ""]
    refused = dataclasses.replace(checked(None).response, answer=Answer(CANNOTANSWER))
    assert not any("supported" in line for line in response_lines(refused))


def test_a_conversation_that_is_opened_again_shows_it_as_it_was(tmp_path):
    history = History(tmp_path / "conversations.sqlite")
    turns = [checked(), checked(Support((), -1.0)), checked(None)]
    (first, second, third) = history.load("ada", history.keep("ada", "", turns))
    assert turn_view(first, number=1) == turn_view(turns[0], number=1)
    assert second.response.support == Support((), -1.0)
    assert third.response.support is None
