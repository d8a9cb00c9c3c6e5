from rag.retrieve.follow_up import Before
from rag.serve.before import what_was_before
from rag.serve.turns import Turn
from rag.types import CANNOTANSWER, Answer, Hit, Passage, Query, Response

FIRST, SECOND, THIRD = (Passage(f"doc{n}@0", "text", f"Title {n}") for n in range(3))


class Finds:
    def __init__(self, *passages):
        self.passages, self.asked = passages, []

    def retrieve(self, queries, k):
        self.asked += queries
        return [[Hit(passage, 1.0) for passage in self.passages][:k] for _ in queries]


def turn(question, answer, contexts=(), cited=(), searched_for=""):
    hits = tuple(Hit(passage, 1.0 - n / 10) for n, passage in enumerate(contexts))
    parsed = Answer(answer, tuple(passage.id for passage in cited))
    return Turn(question, searched_for, Response(Query("chat", question), (), hits, hits, parsed), done=True)


def test_the_passage_cited_first_is_what_the_conversation_is_about():
    past = [turn("Who designed it?", "Clara Voss", [FIRST, SECOND, THIRD], [SECOND, THIRD], "Who designed the line?")]
    assert what_was_before(past, Finds()) == Before("Who designed the line? Clara Voss", SECOND)


def test_an_answer_without_citations_is_taken_to_be_about_its_best_passage():
    assert what_was_before([turn("q", "a", [FIRST, SECOND])], Finds()).cited == FIRST


def test_a_refusal_keeps_what_was_cited_before_it():
    past = [turn("Who?", "Clara", [FIRST], [FIRST]), turn("Why?", CANNOTANSWER, [SECOND])]
    assert what_was_before(past, Finds(THIRD)) == Before("Why?", FIRST)


def test_turns_told_without_passages_are_searched_once_more():
    retriever = Finds(THIRD, FIRST)
    assert what_was_before([turn("Who designed the line?", "Clara")], retriever).cited == THIRD
    assert retriever.asked == ["Who designed the line?"]


def test_long_questions_and_answers_are_cut():
    before = what_was_before([turn("q" * 500, "a" * 500, [FIRST])], Finds())
    assert before.text == "q" * 300 + " " + "a" * 300
