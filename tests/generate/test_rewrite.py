import pytest

from rag.generate.rewrite import needs_rewriting, rewrite_question

HISTORY = [("Who designed the Amber Line?", "Clara Voss")]


class Scripted:
    max_new_tokens = 10

    def __init__(self, reply, window=1000):
        self.reply, self.context_window_tokens, self.asked = reply, window, []

    def count_tokens(self, conversation):
        return sum(len(message["content"].split()) for message in conversation)

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


def test_earlier_questions_are_cut_like_earlier_answers():
    generator = Scripted("Where did Clara Voss study?")
    rewrite_question("Where did she study?", [("who " * 500, "she " * 500)], generator)
    request = generator.asked[0][-1]["content"]
    assert (request.count("who "), request.count("she ")) == (75, 75 + 1)


def test_what_the_window_cannot_hold_is_not_asked_for():
    for window, asked in ((100, 0), (1000, 1)):
        generator = Scripted("Where did Clara Voss study?", window)
        rewritten = rewrite_question("Where did she study?", HISTORY, generator)
        assert (len(generator.asked), rewritten == "Where did she study?") == (asked, not asked)
