"""How far an answer is supported: below it on the page, in the API's record, in `rag ask`."""

import dataclasses

import pytest

from rag.cli.lines import response_json, response_lines
from rag.serve.asking import citations_record
from rag.serve.history import History
from rag.serve.html import message_html
from rag.types import CANNOTANSWER, Answer, Support
from tests.fakes.conversations import turn

CHECKED = Support(("a@0",), 3.25, 1.0)


def checked(support=CHECKED, **more):
    plain = turn("when does the ferry leave", **more)
    return dataclasses.replace(plain, response=dataclasses.replace(plain.response, support=support))


def test_the_page_says_it_in_a_small_line_with_the_score_to_hover():
    shown = message_html(checked(), 1)
    assert ">supported by [1], word for word</div>" in shown
    assert "agrees by 100%. Score 13.2; higher is better." in shown
    weak = message_html(checked(Support((), -1.0, 0.0)), 1)
    assert ">weakly supported by [1], not word for word</div>" in weak


@pytest.mark.parametrize("more", [{"stopped": True}, {"support": None}])
def test_the_page_says_nothing_of_what_was_stopped_or_not_checked(more):
    assert 'class="support' not in message_html(checked(**more), 1)


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
    assert message_html(first, 1) == message_html(turns[0], 1)
    assert second.response.support == Support((), -1.0)
    assert third.response.support is None
