"""How far an answer is supported by what it cites. A score is two logits for each word shared with the query."""

import pytest

from rag.generate.support import SENTENCES_SCORED, find_support, support_json, support_line
from rag.types import CANNOTANSWER, Answer, Hit, Passage, Query, ReadSpan, Response, Support
from tests.fakes.pipelines import ByWords

FERRY = Passage("ferry@0", "The ferry sails at nine. Dogs travel free. Tickets cost nine crowns.")
HARBOUR = Passage("harbour@0", "The harbour is old. Nobody knows its age.")


def answered(text, citations=("ferry@0",), marks=(), *, spans=None, question="what do tickets cost", contexts=None):
    hits = tuple(Hit(passage, 1.0) for passage in contexts or (HARBOUR, FERRY))
    return Response(Query("q", question), (), hits, hits, Answer(text, citations, text, marks), spans=spans or {})


def support(response):
    (found,) = find_support(ByWords(), [response])
    return found


def test_question_and_answer_are_scored_against_the_nearest_cited_sentence():
    # "what do tickets cost nine crowns" shares three words with the last sentence: "crowns." is another word there.
    assert support(answered("nine crowns")) == Support(("ferry@0",), 6.0)


def test_only_what_is_cited_counts():
    found = support(answered("nine crowns", ("harbour@0",)))
    assert (found.word_for_word, found.logit) == ((), 0.0)


def test_an_answer_that_cites_nothing_is_compared_with_every_context():
    found = support(answered("nine crowns", ()))
    assert (found.word_for_word, found.logit) == (("ferry@0",), 6.0)


def test_words_that_do_not_stand_in_the_cited_passage_without_gaps_are_not_found():
    assert support(answered("nine silver crowns")).word_for_word == ()
    assert support(answered("Nine CROWNS!")).word_for_word == ("ferry@0",)


def test_each_piece_is_compared_with_what_it_cites_and_the_weakest_counts():
    text = "Tickets cost nine crowns. The harbour is new."
    marks = ((25, ("ferry@0",)), (45, ("harbour@0",)))
    both = ("ferry@0", "harbour@0")
    found = support(answered(text, both, marks))
    assert found == Support(
        (), 6.0
    )  # "the harbour is" of the second, "tickets cost nine" and "crowns." of the first: 8
    right = support(answered(text.replace("new", "old"), both, marks))
    assert right == Support(both, 8.0)
    swapped = ((25, ("harbour@0",)), (45, ("ferry@0",)))
    assert support(answered(text.replace("new", "old"), both, swapped)).word_for_word == ()


def test_a_mark_before_the_full_stop_makes_no_piece_of_the_full_stop():
    assert support(answered("Nine crowns.", marks=((11, ("ferry@0",)),))) == Support(("ferry@0",), 6.0)


def test_a_reader_agrees_by_the_words_that_answer_and_span_share():
    def agreement(text, start, end):
        return support(answered(text, spans={"ferry@0": ReadSpan(start, end, 5.0, 1.0)})).agreement

    assert FERRY.text[56:67] == "nine crowns"
    assert agreement("nine crowns", 56, 67) == 1
    assert agreement("nine", 56, 67) == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert agreement("a ticket costs nine crowns today", 56, 67) == 1  # it says all that was read
    assert agreement("dogs", 56, 67) == 0
    assert agreement("nine crowns", 0, 0) == 0  # nothing was read there


def test_what_is_read_in_passages_that_are_not_cited_does_not_count():
    spans = {"harbour@0": ReadSpan(0, 11, 5.0, 1.0)}
    assert support(answered("The harbour", spans=spans)).agreement is None
    spans["ferry@0"] = ReadSpan(0, 9, 5.0, 1.0)
    assert support(answered("The harbour", spans=spans)).agreement == 0


def test_the_score_counts_full_agreement_as_ten_logits():
    assert Support((), 1.5).score == 1.5
    assert Support((), 1.5, 0.0).score == 1.5
    assert Support((), 1.5, 0.25).score == 4.0


def test_refusals_and_answers_without_contexts_have_no_support():
    refused = answered(CANNOTANSWER, ())
    shown_nothing = Response(Query("q", "who"), answer=Answer("Clara"))
    unasked = Response(Query("q", "who"))
    reranker = ByWords()
    found = find_support(reranker, [refused, answered("nine crowns"), shown_nothing, unasked])
    assert found == [None, Support(("ferry@0",), 6.0), None, None]
    assert find_support(reranker, [refused]) == [None]
    assert find_support(reranker, []) == []


def test_of_a_long_passage_the_sentences_that_share_most_words_are_scored():
    sentences = [f"Sentence number {n} is here." for n in range(9)] + ["Tickets cost nine crowns."]
    reranker = ByWords()
    long = Passage("ferry@0", " ".join(sentences))
    (found,) = find_support(reranker, [answered("nine crowns", contexts=(long,))])
    assert found.logit == 6.0
    (asked,) = reranker.asked
    assert [passage.text for passage in asked] == ["Tickets cost nine crowns.", *sentences[: SENTENCES_SCORED - 1]]


def test_the_line_names_the_cited_passages_and_says_whether_the_words_stand_there():
    def line(response, *support):
        return support_line(
            Response(response.query, (), (), response.contexts, response.answer, support=Support(*support))
        )

    cited, uncited = answered("nine crowns"), answered("nine", ())
    assert line(cited, ("ferry@0",), 1.0, 0.5) == "supported by [2], word for word"
    assert line(cited, (), 1.0, 0.5) == "supported by [2], not word for word"
    assert line(cited, ("ferry@0",), 1.0, 0.49) == "weakly supported by [2], word for word"
    assert line(cited, (), 1.0) == "not word for word in [2]"
    assert line(answered("nine", ("ferry@0", "harbour@0")), ("ferry@0",), 1.0) == "word for word in [2] [1]"
    assert line(uncited, (), 1.0, 1.0) == "no passage is cited, not found word for word"
    assert support_line(cited) == ""


def test_a_record_numbers_the_passages_that_hold_the_words():
    response = answered("nine crowns")
    assert support_json(response) == {}
    checked = Response(
        response.query, (), (), response.contexts, response.answer, support=Support(("ferry@0",), 1.25, 1)
    )
    assert support_json(checked) == {
        "support": {
            "line": "supported by [2], word for word",
            "word_for_word": [2],
            "score": 11.25,
            "logit": 1.25,
            "agreement": 1,
        }
    }
