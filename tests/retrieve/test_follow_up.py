import pytest

from rag.retrieve.follow_up import Before, FollowUpRetriever
from rag.retrieve.hybrid import fuse_ranks
from rag.types import Hit, Passage

AMBER = Passage("amber@0", "The line has twelve stations.", "Amber Line")
PASSAGES = {name: Passage(f"{name}@0", f"about {name}") for name in "abcdefgh"} | {"amber": AMBER}


class Toy:
    """Finds for each text the passages named for it, best first; remembers what it was asked."""

    def __init__(self, found):
        self.found, self.asked = found, []

    def retrieve(self, queries, k):
        self.asked += queries
        hits = [[Hit(PASSAGES[name], 1.0) for name in self.found[query].split()] for query in queries]
        return [own[:k] for own in hits]


def names(hits):
    return [hit.passage.document for hit in hits]


def test_ranks_are_fused_by_their_weights():
    a, b = Hit(PASSAGES["a"], 9.0), Hit(PASSAGES["b"], 8.0)
    fused = fuse_ranks([(1.0, [a, b]), (2.0, [b])], rrf_k=10)
    assert names(fused) == ["b", "a"]
    assert [hit.score for hit in fused] == pytest.approx([1 / 12 + 2 / 11, 1 / 11])


def test_a_question_that_refers_back_is_searched_with_title_and_last_turn():
    toy = Toy(
        {
            "Who designed it?": "a b",
            "Amber Line Who designed it?": "c a",
            "Where does the Amber Line end? Graz Who designed it?": "d c",
        }
    )
    before = Before("Where does the Amber Line end? Graz", AMBER)
    (hits,) = FollowUpRetriever(toy, "Who designed it?", before, refers_back=True).retrieve(["Who designed it?"], 3)
    # 1 / (10 + rank) by itself, three times that with the title, once with the last turn: c .356, a .341, d .091.
    assert names(hits) == ["c", "a", "d"]
    assert [hit.score for hit in hits] == pytest.approx([3 / 11 + 1 / 12, 1 / 11 + 3 / 12, 1 / 11])


def test_a_rewritten_question_counts_beside_the_typed_one_in_context():
    toy = Toy({"Who designed the Amber Line?": "a", "Amber Line Who did?": "b", "last Who did?": "c"})
    retriever = FollowUpRetriever(toy, "Who did?", Before("last", AMBER), refers_back=True)
    (hits,) = retriever.retrieve(["Who designed the Amber Line?"], 3)
    assert names(hits) == ["b", "a", "c"]
    assert "Who did?" not in toy.asked


def test_a_question_that_finds_the_cited_document_goes_on_in_any_language():
    question = "Wer hat die Stationen gebaut?"
    toy = Toy({question: "a amber", f"Amber Line {question}": "b", f"last {question}": "c"})
    (hits,) = FollowUpRetriever(toy, question, Before("last", AMBER), refers_back=False).retrieve([question], 4)
    assert names(hits) == ["b", "a", "c", "amber"]


def test_a_new_topic_keeps_its_order_and_what_was_cited_comes_behind():
    question = "Why does bread dough rise?"
    toy = Toy({question: "a b c", f"Amber Line {question}": "d a"})
    (hits,) = FollowUpRetriever(toy, question, Before("last", AMBER), refers_back=False).retrieve([question], 4)
    # a 1/11 + .3/12, b 1/12, c 1/13, d .3/11: what the title alone finds moves nothing up before them.
    assert names(hits) == ["a", "b", "c", "d"]
    assert toy.asked == [question, f"Amber Line {question}"]


def test_without_a_title_the_last_turn_alone_is_put_before_the_question():
    toy = Toy({"Why?": "a", "last Why?": "b"})
    (hits,) = FollowUpRetriever(toy, "Why?", Before("last", PASSAGES["c"]), refers_back=True).retrieve(["Why?"], 2)
    assert names(hits) == ["b", "a"]


def test_nothing_before_it_changes_nothing():
    toy = Toy({"Why?": "a b"})
    (hits,) = FollowUpRetriever(toy, "Why?", Before(""), refers_back=True).retrieve(["Why?"], 2)
    assert [(hit.passage.document, hit.score) for hit in hits] == [("a", 1.0), ("b", 1.0)]


def test_deeper_ranks_than_are_asked_for_are_fused():
    toy = Toy({"Why?": "a b c", "Amber Line Why?": "c", "last Why?": ""})
    (hits,) = FollowUpRetriever(toy, "Why?", Before("last", AMBER), refers_back=True).retrieve(["Why?"], 1)
    assert names(hits) == ["c"]
