"""Where a span reader sees the answer: in the source card, in the API's citations, below the answer of `rag ask`."""

import dataclasses

from rag.cli.lines import response_json, response_lines
from rag.serve.asking import citations_record
from rag.serve.view import turn_view
from rag.types import CANNOTANSWER, Answer, ReadSpan
from tests.fakes.conversations import turn

SEEN = {"a@0": ReadSpan(20, 24, 6.0, 1.0), "b@0": ReadSpan(9, 20, 2.5, 2.0)}
QUOTE = "[1] “The ferry leaves at noon.”"


def read(spans, answer=None):
    """A finished turn: the ferry's passage cited, both read."""
    plain = turn("when does the ferry leave")
    changes = {"spans": spans} if answer is None else {"spans": spans, "answer": answer}
    return dataclasses.replace(plain, response=dataclasses.replace(plain.response, **changes))


def excerpts(spans):
    return [source["excerpt_html"] for source in turn_view(read(spans), number=1)["sources"]]


def test_a_card_marks_the_sentence_of_the_span_and_escapes_every_part():
    ferry, dogs = excerpts(SEEN)
    assert "<mark>The ferry leaves at noon.</mark>" in ferry
    assert "<mark>Dogs are &lt;b&gt;free&lt;/b&gt;.</mark>" in dogs


def test_a_card_that_is_not_cited_marks_nothing_where_the_reader_sees_no_answer():
    unseen = {"a@0": ReadSpan(20, 24, 1.0, 1.0), "b@0": ReadSpan(0, 0, 9.0, 1.0)}
    for spans in (unseen, {}):
        _, dogs = excerpts(spans)
        assert "<mark>" not in dogs
        assert "Dogs are &lt;b&gt;free&lt;/b&gt;." in dogs


def test_a_citation_tells_the_span_of_its_passage():
    response = read(SEEN).response
    (cited,) = citations_record(response, response.answer)["citations"]
    assert cited["span"] == {"start": 20, "end": 24, "text": "noon", "margin": 5.0}
    assert cited["text"][20:24] == "noon"
    plain = read({}).response
    (cited,) = citations_record(plain, plain.answer)["citations"]
    assert "span" not in cited


def test_ask_quotes_the_sentence_that_holds_the_best_span():
    lines = response_lines(read(SEEN).response)
    assert lines[1:3] == [QUOTE, ""]
    assert response_json(read(SEEN).response)["contexts"][0]["span"]["text"] == "noon"
    assert "span" not in response_json(read({}).response)["contexts"][0]


def test_ask_quotes_nothing_without_a_reader_below_a_refusal_or_where_no_answer_is_seen():
    refused = read(SEEN, Answer(CANNOTANSWER)).response
    unseen = read({"a@0": ReadSpan(20, 24, 1.0, 2.0)}).response
    for response in (read({}).response, refused, unseen):
        assert not any("“" in line for line in response_lines(response))
