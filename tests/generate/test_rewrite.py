import pytest

from rag.generate.rewrite import needs_rewriting, rewrite_question

HISTORY = [("Who designed the Amber Line?", "Clara Voss")]


class Scripted:
    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def generate(self, conversations):
        self.asked += conversations
        return [self.reply for _ in conversations]


@pytest.mark.parametrize("question", ["Where did she study?", "And the ferry?", "Why?", "What about Graz, then?"])
def test_a_question_that_leans_on_the_conversation_needs_rewriting(question):
    assert needs_rewriting(question, HISTORY)


def test_nothing_needs_rewriting_without_a_conversation():
    assert not needs_rewriting("Where did she study?", [])


def test_a_standalone_question_never_reaches_the_model():
    generator = Scripted("nonsense")
    question = "When was the lighthouse of Tern Island built?"
    assert rewrite_question(question, HISTORY, generator) == question
    assert generator.asked == []


def test_the_rewritten_question_comes_from_the_model_with_the_history():
    generator = Scripted("Q: Where did Clara Voss study?")
    assert rewrite_question("Where did she study?", HISTORY, generator) == "Where did Clara Voss study?"
    assert "Clara Voss" in generator.asked[0][-1]["content"]


@pytest.mark.parametrize("reply", ["", "CANNOTANSWER", "word " * 200, "who designed the Amber Line"])
def test_a_useless_rewrite_leaves_the_question_as_typed(reply):
    assert rewrite_question("Where did she study?", HISTORY, Scripted(reply)) == "Where did she study?"


def test_a_question_may_be_asked_again():
    again = "Who designed the Amber Line?"
    assert rewrite_question("Who designed it?", HISTORY, Scripted(again)) == again
    assert rewrite_question("And the ferry?", HISTORY, Scripted(again)) == "And the ferry?"
