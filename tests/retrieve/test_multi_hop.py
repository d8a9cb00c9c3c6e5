import pytest

from rag.retrieve.multi_hop import FusedMultiHopRetriever, MultiHopRetriever, named_in, new_names
from rag.types import FusedRetriever, Hit, Passage

FILM = Passage("film@0", "Jana Novak directed the film of 1990 on Tern Island.", "Amber Line")
DIRECTOR = Passage("director@0", "She was born in Graz.", "Jana Novak (director)")
OTHER = Passage("other@0", "A town with a harbour.", "Graz")
PASSAGES = {passage.document: passage for passage in (FILM, DIRECTOR, OTHER)}
QUESTION = "Where was the director of Amber Line born?"
AGAIN = f"{QUESTION} Jana Novak 1990 Tern Island"


class Toy:
    """Finds for each text the passages named for it, best first; remembers what it was asked."""

    def __init__(self, found):
        self.found, self.asked = found, []

    def retrieve(self, queries, k):
        self.asked.append(list(queries))
        return [[Hit(PASSAGES[name], 1.0) for name in self.found.get(query, "").split()][:k] for query in queries]


class FusedToy(Toy):
    def retrieve_with_parts(self, queries, k):
        found = self.retrieve(queries, k)
        return found, {"bm25": found}


def names(hits):
    return [hit.passage.document for hit in hits]


def test_the_second_round_finds_what_the_best_passage_names():
    toy = Toy({QUESTION: "film other", AGAIN: "film director"})
    (hits,) = MultiHopRetriever(toy).retrieve([QUESTION], 3)
    # 1 / (10 + rank) at once, .3 of it in the second round, .5 for the film and what it names: .164, .083, .067.
    assert names(hits) == ["film", "other", "director"]
    assert [hit.score for hit in hits] == pytest.approx([1.8 / 11, 1 / 12, 0.8 / 12])
    assert toy.asked == [[QUESTION], [AGAIN]]


def test_a_passage_that_the_best_one_names_rises_where_it_was_found_at_once():
    toy = Toy({QUESTION: "film other director"})
    (hits,) = MultiHopRetriever(toy).retrieve([QUESTION], 2)
    assert names(hits) == ["film", "director"]


def test_the_second_round_of_all_questions_is_one_search():
    toy = Toy({QUESTION: "film", AGAIN: "director", "of nothing": "", "Graz": "other"})
    found = MultiHopRetriever(toy).retrieve([QUESTION, "of nothing", "Graz"], 3)
    assert [names(hits) for hits in found] == [["film", "director"], [], ["other"]]
    assert len(toy.asked) == 2


def test_at_most_k_are_found_and_no_question_finds_nothing():
    toy = Toy({QUESTION: "film other", AGAIN: "film director"})
    assert names(MultiHopRetriever(toy).retrieve([QUESTION], 1)[0]) == ["film"]
    assert MultiHopRetriever(toy).retrieve([], 3) == []


def test_the_parts_of_a_fusion_are_those_of_the_question_itself():
    toy = FusedToy({QUESTION: "film other", AGAIN: "director"})
    retriever = FusedMultiHopRetriever(toy)
    (hits,), parts = retriever.retrieve_with_parts([QUESTION], 1)
    assert names(hits) == ["film"]
    assert names(parts["bm25"][0]) == ["film"]
    assert isinstance(retriever, FusedRetriever)
    assert not isinstance(MultiHopRetriever(toy), FusedRetriever)


def test_new_names_begin_with_no_small_letter_and_are_not_in_the_question():
    assert new_names(QUESTION, FILM) == ["Jana", "Novak", "1990", "Tern", "Island"]


def test_without_anything_new_there_is_no_second_search():
    toy = Toy({"A town, Graz": "other"})
    assert names(MultiHopRetriever(toy).retrieve(["A town, Graz"], 3)[0]) == ["other"]
    assert toy.asked == [["A town, Graz"], []]


def test_letters_without_capitals_are_all_taken():
    square = Passage("square@0", "山頂廣場位於太平山,香港島。", "山頂廣場")
    assert new_names("山頂廣場在哪裡?", square) == ["山頂廣場位於太平山", "香港島"]
    mountain, hall = Passage("m@0", "", "太平山"), Passage("h@0", "", "大會堂")
    assert named_in(square, [Hit(mountain, 1.0), Hit(hall, 1.0), Hit(square, 1.0)]) == [Hit(mountain, 1.0)]


@pytest.mark.parametrize(
    ("title", "is_named"),
    [
        ("Jana Novak", True),
        ("jana novak (director)", True),
        ("Tern Island › History › Names", True),
        ("Amber Line", False),  # its own
        ("Amber", False),  # within its own
        ("Nova", False),  # no whole word
        ("on", False),  # too short
        ("", False),
    ],
)
def test_a_document_is_named_by_its_title(title, is_named):
    hit = Hit(Passage("x@0", "text", title), 1.0)
    passage = Passage("film@0", "Amber Line was made by Jana Novak on Tern Island.", "Amber Line")
    assert named_in(passage, [hit]) == ([hit] if is_named else [])
