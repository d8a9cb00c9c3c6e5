"""Whether a text answers, what is withheld from a question, and the near-twins that nothing answers."""

import random

from rag.data.near_twins import pieces_by_shape
from rag.evaluate.unanswerable import Withheld, answers_twin, holds_answer, unanswered_twin
from rag.types import Passage

FERRY = Passage("tern@0", "Clara Voss built the ferry.", "Tern Island")


def test_a_text_holds_a_phrase_whole_and_a_longer_answer_by_most_of_its_words():
    assert holds_answer("It was built by Voss, Clara.", ["Clara Voss"])
    assert not holds_answer("It was built by Clara.", ["Clara Voss", "Halloran"])
    longer = ["rye bread rises when yeast turns sugar into gas slowly"]
    assert holds_answer("When yeast turns sugar into gas, the dough rises.", longer)  # 7 of 10
    assert not holds_answer("Yeast turns rye sour, and bread rises.", longer)  # 5 of 10
    assert not holds_answer("No, it is not, says the text.", ["no"])


def test_a_copy_of_a_gold_passage_answers_and_so_does_one_that_holds_the_words():
    withheld = Withheld.of([FERRY, Passage("hale@3", "She did.")], ("Clara Voss",))
    assert withheld.documents == {"tern", "hale"}
    assert withheld.is_answered_by(Passage("other@0", "she  DID."))
    assert withheld.is_answered_by(Passage("other@0", "A ferry.", "Voss, Clara"))  # titles are shown, too
    assert not withheld.is_answered_by(Passage("tern@1", "The ferry is blue."))


def test_a_text_answers_a_near_twin_if_it_holds_the_answer_and_what_was_put_in():
    both = "Clara Voss built the ferries of Tern Island and of PORT HALE."
    assert answers_twin(both, "Port Hale", ["Clara Voss"])
    assert not answers_twin(both, "Graz", ["Clara Voss"])
    assert not answers_twin("The ferry of Port Hale is blue.", "Port Hale", ["Clara Voss"])


def test_a_near_twin_is_one_that_no_text_answers():
    question, others = "Who built the ferry to Tern Island?", pieces_by_shape(["Is it Port Hale?", "Is it Amber Line?"])
    texts = ["Clara Voss built the ferry to Port Hale.", FERRY.content]
    for seed in range(10):
        made = unanswered_twin(question, others, random.Random(seed), texts, ["Clara Voss"])
        assert made == ("Who built the ferry to Amber Line?", "Amber Line")
    everywhere = [f"{texts[0]} And the Amber Line."]
    assert unanswered_twin(question, others, random.Random(0), everywhere, ["Clara Voss"]) is None
