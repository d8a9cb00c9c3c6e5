"""Answers in the report: their citation marks stand in place, are numbered as in the prompt, and say what they mean."""

import pytest

from rag.data.passages import Corpus
from rag.evaluate.report.answers import (
    MAX_ANSWER_CHARACTERS,
    ShownAnswer,
    answer_html,
    answer_markdown,
    answer_parts,
    plain,
    shown_answer,
)
from rag.evaluate.report.runs import ReportedRun
from rag.types import Passage

FERRY, DOGS = Passage("a@0", 'The "ferry" leaves\nat noon.', "Ferry | 1"), Passage("b@0", "Dogs are free.")
ROW = {"answer": "At noon. Dogs too.", "contexts": ["b@0", "a@0"], "citations": ["a@0", "b@0"]}


def run_of(row, corpus=None):
    return ReportedRun("run", {}, {}, {"q": row}, corpus=corpus)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, ["At noon. Dogs too.", " ", 2, " ", 1]),
        ({"marks": [[7, ["a@0"]], [17, ["b@0"]]]}, ["At noon", " ", 2, ". Dogs too", " ", 1, "."]),
        ({"marks": [[7, ["a@0"]]]}, ["At noon", " ", 2, ". Dogs too.", " ", 1]),
        ({"citations": None}, ["At noon. Dogs too."]),
        ({"citations": ["c@0"], "marks": [[7, ["c@0"]]]}, ["At noon", ". Dogs too."]),
        ({"answer": None}, []),
    ],
)
def test_marks_stand_where_the_model_put_them(changes, parts):
    assert answer_parts({**ROW, **changes}) == parts


def test_a_mark_says_which_passage_it_means():
    row = {**ROW, "marks": [[7, ["a@0"]]]}
    known = shown_answer(run_of(row, Corpus([FERRY, DOGS])), "q")
    assert answer_html(known) == (
        'At noon <span class="cite" title="Ferry | 1: The &#34;ferry&#34; leaves at noon.">[2]</span>. Dogs too. '
        '<span class="cite" title="b@0: Dogs are free.">[1]</span>'
    )
    assert answer_markdown(known) == r"At noon \[2\]. Dogs too. \[1\] — \[1\] b@0; \[2\] Ferry \| 1"
    unknown = shown_answer(run_of(row), "q")
    assert 'title="a@0">[2]</span>' in answer_html(unknown)
    assert answer_markdown(unknown).endswith(r"— \[1\] b@0; \[2\] a@0")


def test_without_an_answer_there_is_a_dash():
    for run in (run_of({**ROW, "answer": None}), ReportedRun("run", {}, {}, {})):
        assert answer_html(shown_answer(run, "q")) == answer_markdown(shown_answer(run, "q")) == "–"


def test_a_long_answer_is_cut_and_keeps_what_it_cites():
    words = "word " * (MAX_ANSWER_CHARACTERS // 5)
    cited = {1: DOGS, 2: FERRY}
    long = ShownAnswer(("Early", " ", 2, f" {words}", "and more.", " ", 1, " ", 2), cited)
    shown = answer_html(long)
    assert shown.startswith("Early <span")
    assert "more" not in shown
    assert shown.count("word") == (MAX_ANSWER_CHARACTERS - len("Early  ")) // 5
    assert "word … <span" in shown
    assert (shown.count("[1]"), shown.count("[2]")) == (1, 1)
    whole = ShownAnswer(("x" * MAX_ANSWER_CHARACTERS, " ", 1), cited)
    assert answer_html(whole).startswith("x" * MAX_ANSWER_CHARACTERS + " <span")
    unbroken = ShownAnswer(("x" * (MAX_ANSWER_CHARACTERS + 1),), cited)
    assert answer_html(unbroken) == "x" * MAX_ANSWER_CHARACTERS + " … "


def test_markup_means_nothing_in_markdown():
    assert plain("[a](b) <i>*c*_d_`e`|\\ f\n\n g&lt;") == (r"\[a\](b) \<i\>\*c\*\_d\_\`e\`\|\\ f g\&lt;")
