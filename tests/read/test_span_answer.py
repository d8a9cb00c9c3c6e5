"""A span as the answer, and its record."""

from rag.read.span_answer import best_span, span_answer, span_json
from rag.types import Answer, Hit, Passage, Query, ReadSpan, Response

FERRY, DOGS = Passage("a@0", "It sails at noon.", "Ferry"), Passage("b@0", "Dogs are free.", "Dogs")
HITS = [Hit(FERRY, 3.0), Hit(DOGS, 1.0)]
NOON, FREE = ReadSpan(12, 16, 6.0, 1.0), ReadSpan(9, 13, 8.0, 1.0)


def test_the_words_of_the_largest_margin_are_the_answer_and_cite_their_passage():
    assert span_answer(HITS, {"a@0": NOON, "b@0": FREE}, 5.0) == Answer("free", ("b@0",), "free")
    assert span_answer(HITS[:1], {"a@0": NOON, "b@0": FREE}, 5.0) == Answer("noon", ("a@0",), "noon")


def test_words_that_a_wrapped_text_breaks_are_one_line():
    wrapped = Passage("c@0", "It sails at\n    twelve noon.", "Ferry")
    spans = {"c@0": ReadSpan(9, 27, 6.0, 1.0)}
    assert span_answer([Hit(wrapped, 1.0)], spans, 5.0) == Answer("at twelve noon", ("c@0",), "at\n    twelve noon")


def test_a_smaller_margin_or_no_words_are_no_answer():
    assert span_answer(HITS, {"a@0": NOON}, 5.1) is None
    assert span_answer(HITS, {"a@0": ReadSpan(0, 0, 9.0, 0.0)}, 5.0) is None
    assert span_answer(HITS, {}, -100.0) is None


def test_a_span_without_a_letter_or_a_digit_is_no_answer():
    code = Passage("d@0", "rag list  # every index", "Commands")
    assert span_answer([Hit(code, 1.0)], {"d@0": ReadSpan(10, 11, 9.0, 0.0)}, 5.0) is None
    assert span_answer([Hit(code, 1.0)], {"d@0": ReadSpan(10, 17, 9.0, 0.0)}, 5.0) is not None


def test_of_equal_margins_the_passage_that_ranks_first_wins():
    assert best_span(HITS, {"b@0": FREE, "a@0": ReadSpan(12, 16, 7.0, 0.0)}) == (FERRY, ReadSpan(12, 16, 7.0, 0.0))


def test_the_record_of_a_passage_names_its_span_where_one_was_read():
    response = Response(Query("1", "when"), spans={"a@0": NOON})
    assert span_json(response, FERRY) == {"span": {"start": 12, "end": 16, "text": "noon", "margin": 5.0}}
    assert span_json(response, DOGS) == {}
