"""The measurement of follow-up questions: conversations made from questions, and what each way finds."""

import pytest

from benchmarks.conversations import Earlier, make_conversations, with_pronoun
from benchmarks.follow_ups import earlier_turns, rows, search
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.retrieve.bm25 import BM25Retriever


def example(n, pid, text, rewrite="", answer="x", source="web"):
    return Example(Question(f"q{n}", text, rewrite or text, answer, (), source), (pid,))


def turn(question, answer="x"):
    return Earlier(question, question, answer, ())


@pytest.mark.parametrize(
    ("question", "before", "title", "leaning"),
    [
        ("When was the Amber Line opened?", turn("Who designed the Amber Line?"), "", "When was it opened?"),
        ("How long is the Amber Line's tunnel?", turn("Who built the Amber Line?"), "", "How long is its tunnel?"),
        ("Where did Clara Voss study?", turn("Who designed it?", "Clara Voss"), "", "Where did he study?"),
        ("Whose are the Hale Towers?", turn("How tall are the Hale Towers?"), "", "Whose are they?"),
        ("what is rye bread made of", turn("is rye bread dark"), "Rye bread - Uses", "what is it made of"),
        ("Amber opened in which year?", turn("How long is Amber?"), "", "It opened in which year?"),
    ],
)
def test_a_name_that_was_said_becomes_a_pronoun(question, before, title, leaning):
    assert with_pronoun(question, before, title) == leaning


@pytest.mark.parametrize(
    ("question", "before", "title"),
    [
        ("When was the Amber Line opened?", turn("Who built the North Line?"), "Amber Line"),
        ("What did the Graz Museum show?", turn("Where is Graz?"), "Graz"),  # only a part of the name was said
        ("Who sold the land?", turn("Who sold the house?"), "Land"),
    ],
)
def test_a_question_without_such_a_name_makes_no_follow_up(question, before, title):
    assert with_pronoun(question, before, title) is None


def test_conversations_are_made_of_questions_about_one_document():
    examples = [
        example(0, "tale@0", "Why did Jack climb?", "Why did Jack climb? (story: Beans)", source="tales"),
        example(1, "web_1@0", "Who designed the Amber Line?", answer="Clara Voss"),
        example(2, "tale@4", "Why did he run?", "Why did he run? (story: Beans)", source="tales"),
        example(3, "web_1@1", "Where did Clara Voss study?"),
        example(4, "tale@5", "What did he sell?", "What did he sell? (story: Beans)", source="tales"),
    ]
    made = make_conversations(examples, {"tale": "Beans", "web_1": "Amber Line"})
    typed = [one for one in made if one.kind == "typed"]
    assert [([earlier.question for earlier in one.before], one.question) for one in typed] == [
        (["Why did Jack climb? (story: Beans)"], "Why did he run?"),
        (["Why did Jack climb? (story: Beans)", "Why did he run?"], "What did he sell?"),
    ]
    assert [(one.rewrite, one.gold) for one in typed][1] == ("What did he sell? (story: Beans)", ("tale@5",))
    (pronoun,) = (one for one in made if one.kind == "pronoun")
    assert (pronoun.question, pronoun.rewrite) == ("Where did he study?", "Where did Clara Voss study?")
    controls = [one for one in made if not one.is_follow_up]
    assert all(one.question == one.rewrite for one in controls)
    others = [one for one in controls if one.kind == "other document"]
    assert len(others) == 5
    assert all(("(story" in one.before[0].question) != (one.source == "tales") for one in others)


def test_each_source_and_kind_gives_at_most_so_many():
    examples = [example(n, "web_1@0", f"Where is Graz {n}?") for n in range(9)]
    made = make_conversations(examples, {}, per_source=4)
    assert [one.kind for one in made].count("pronoun") == 4
    assert made == make_conversations(examples, {}, per_source=4)


@pytest.fixture
def bm25(passages):
    return BM25Retriever(Corpus(passages))


def test_every_way_searches_and_the_rows_compare_it_with_the_question_as_typed(bm25):
    examples = [
        example(0, "doc_1@1", "Where does the ferry to Tern Island leave?", answer="Port Hale"),
        example(1, "doc_1@0", "When was the lighthouse of Tern Island built?", answer="1874"),
    ]
    (one,) = (made for made in make_conversations(examples, {}) if made.kind == "pronoun")
    assert one.question == "When was the lighthouse of it built?"
    (earlier,) = earlier_turns(one, bm25)
    assert earlier.response.answer.citations == ("doc_1@1",)
    found = search(one, bm25, None)
    assert list(found) == ["typed", "human", "title", "before", "fused"]
    assert [hit.passage.id for hit in found["human"]] == ["doc_1@0", "doc_1@1"]
    assert "Tern Island" not in one.question


def test_the_share_of_the_gap_is_that_between_typed_and_human():
    won = {"typed": (0.0, 0.0), "human": (1.0, 1.0), "fused": (1.0, 0.5)}
    lost = {"typed": (0.0, 0.0), "human": (1.0, 1.0), "fused": (0.0, 0.0)}
    by_way = {row["way"]: row for row in rows("typed", [(None, won), (None, lost)])}
    assert (by_way["fused"]["recall@10"], by_way["fused"]["mrr@10"], by_way["fused"]["gap_closed"]) == (0.5, 0.25, 0.5)
    assert (by_way["human"]["gap_closed"], by_way["human"]["difference"]) == (1.0, 1.0)
    assert by_way["typed"]["difference"] == 0.0
