"""Passages on the page: re-flowed, rendered, the answering sentence marked; and in their documents."""

import re

import pytest

from rag.documents.document import Block, Document
from rag.serve.source_html import FIRST_MARK, marked_span, source_html
from rag.serve.source_links import source_link
from rag.serve.sources import Source
from rag.serve.view.passages import MAX_SHOWN, passage_html, with_mark
from rag.serve.view.plain import speaks_markdown
from rag.serve.view.sentence import answering_sentence, sentences_of
from rag.serve.view.signs import MARK, MARK_END
from rag.types import Passage, Place, ReadSpan
from tests.serve.test_view_markdown import Checked

RULES = (
    "The ferry leaves the old harbour at noon, unless the wind is\nstronger than eight. Nobody knows the reason for\n"
    "that hour. Dogs travel free of charge on weekdays."
)


def passage(text, source="rules.pdf", **more):
    return Passage("a@0", text, "Rules", source, Place(0, len(text)), **more)


def sentence(text, words, question="", claims=(), span=None):
    found = answering_sentence(passage(text), question, claims, span)
    assert found is not None
    assert words in text[slice(*found)]
    return " ".join(text[slice(*found)].split())


def test_sentences_are_those_of_prose_items_and_rows():
    text = "One is here. Two is\nthere.\n\n- three items\n- four items\n\nName | Age\nAda | 36\n"
    found = [text[start:end] for start, end in sentences_of(text)]
    assert found == [
        "One is here.",
        "Two is\nthere.",
        "- three items",
        "- four items",
        "Name | Age",
        "Ada | 36",
    ]


def test_each_line_of_code_is_one_and_its_fences_are_none():
    text = "Use these:\n\n```sh\nrag list   # every index\n\n  rag rm x   # goes\n```\nThen rest.\n~~~~\n~~~\nopen"
    found = [text[start:end] for start, end in sentences_of(text)]
    assert found == ["Use these:", "rag list   # every index", "rag rm x   # goes", "Then rest.", "~~~", "open"]


def test_the_line_of_a_command_is_marked_within_its_block():
    text = "Use these:\n\n```sh\nrag list   # every index\nrag rm x   # removes it\n```"
    commands, start = passage(text, "commands.md"), text.index("rag rm x")
    found = answering_sentence(commands, "How do I remove it?", ["`rag rm x`"], ReadSpan(start, start + 8, 6.0, 0.0))
    assert text[slice(*found)] == "rag rm x   # removes it"
    shown = passage_html(commands, found)
    assert "```" not in shown
    assert "<mark>" in shown
    assert shown.count("<pre") == 1


def test_each_of_many_sentences_is_one():
    text = " ".join(f"Sentence {n} is here." for n in range(200))
    assert [text[start:end] for start, end in sentences_of(text)] == [f"Sentence {n} is here." for n in range(200)]


def test_a_short_answer_stands_in_the_sentence_that_holds_its_words():
    assert sentence(RULES, "noon", "When does the ferry leave?", ["At noon."]) == (
        "The ferry leaves the old harbour at noon, unless the wind is stronger than eight."
    )


def test_of_several_sentences_with_the_words_the_one_on_the_question_is_taken():
    text = "In 1874 the pier burned. The lighthouse was built in 1874. Ships came."
    assert (
        sentence(text, "lighthouse", "When was the lighthouse built?", ["1874"]) == "The lighthouse was built in 1874."
    )


def test_what_a_reader_reads_decides_between_sentences_that_hold_the_words():
    text = "It opened in 1931. The line was extended in 1931 too."
    span = ReadSpan(text.rindex("1931"), text.rindex("1931") + 4, 5.0, 1.0)
    assert sentence(text, "extended", "When?", ["1931"], span) == "The line was extended in 1931 too."


def test_a_longer_answer_is_found_by_most_of_its_words():
    claim = "On weekdays, dogs can travel on the ferry and are free of charge for everybody who brings one along."
    assert sentence(RULES, "Dogs", "What of dogs?", [claim]) == "Dogs travel free of charge on weekdays."


def test_an_uncited_passage_is_marked_where_the_reader_sees_an_answer_or_the_question_stands():
    start = RULES.index("free")
    assert "Dogs" in sentence(RULES, "Dogs", "Cost?", (), ReadSpan(start, start + 4, 3.0, 1.0))
    assert "Dogs" in sentence(RULES, "Dogs", "Do dogs travel free of charge?")
    unseen = ReadSpan(start, start + 4, 1.0, 3.0)
    assert answering_sentence(passage(RULES), "Who built the lighthouse?", (), unseen) is None
    assert answering_sentence(passage(RULES), "Who built it?", ["Clara Voss"], None) is None


def test_hard_wrapped_prose_is_one_paragraph_with_one_mark():
    start = RULES.index("Nobody")
    html = passage_html(passage(RULES), (start, RULES.index(" Dogs")))
    assert html == (
        '<p dir="auto">The ferry leaves the old harbour at noon, unless the wind is stronger than eight. '
        "<mark>Nobody knows the reason for that hour.</mark> Dogs travel free of charge on weekdays.</p>"
    )


def test_plain_text_keeps_its_signs_and_shows_its_structure():
    text = (
        "Use 2*3*4 and *args, a_b_c, [x](y) and # no heading.\n\n• one\n• two\n  goes on\n    – deeper\n\n"
        "Name | Age\nAda | 36\n\n    x = f(1)\n    if y:\n        return"
    )
    html = passage_html(passage(text), None)
    assert '<p dir="auto">Use 2*3*4 and *args, a_b_c, [x](y) and # no heading.</p>' in html
    assert '<li dir="auto">one</li><li dir="auto">two goes on<ul><li dir="auto">deeper</li></ul></li>' in html
    assert '<th scope="col" dir="auto">Name</th>' in html
    assert '<td dir="auto">36</td>' in html
    assert "<code>x = f(1)\nif y:\n    return</code>" in html
    Checked(html)


def test_markdown_is_read_as_such_where_a_file_or_its_signs_say_so():
    assert speaks_markdown("a/README.md", "plain")
    assert speaks_markdown("", "## Title\n\ntext")
    assert speaks_markdown("notes.txt", "some **bold** words")
    assert not speaks_markdown("a.pdf", "some **bold** words")
    assert not speaks_markdown("notes.txt", "2 * 3 * 4 [x] (y) #5")
    assert "<strong>bold</strong>" in passage_html(passage("some **bold** words", "a.md"), None)


def test_lines_of_markdown_end_where_it_says_so():
    text = "A line that is rather long, and ends [here](https://example.org/a/very/long/address)\nNext  \nlast"
    assert "<br>" in passage_html(passage(text, "a.md"), None)
    assert "</a> Next<br>last" in passage_html(passage(text, "a.md"), None)
    assert "Ada<br>Berlin" in passage_html(passage("Ada\nBerlin", "a.txt"), None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- **one** is here.\n- two", f"- **{MARK}one** is here.{MARK_END}\n- two"),
        ("## Title is here\n\nx", f"## {MARK}Title is here{MARK_END}\n\nx"),
        ("| a | b |\n|---|---|", f"| {MARK}a | b{MARK_END} |\n|---|---|"),
        ("12. twelve\n13. x", f"12. {MARK}twelve{MARK_END}\n13. x"),
    ],
)
def test_a_mark_stands_behind_the_marker_of_its_line(text, expected):
    assert with_mark(text, (0, text.index("\n"))) == expected


def test_a_mark_ends_before_the_fence_of_code():
    text = "Run this:\n\n```sh\nls\n```\n\nDone."
    html = passage_html(passage(text, "a.md"), (0, text.index("\n\nDone")))
    assert "<mark>ls</mark></code></pre></figure>" in html
    assert html.endswith('<p dir="auto">Done.</p>')


def test_a_long_passage_is_cut_around_its_sentence():
    text = " ".join(f"Sentence number {n} is here." for n in range(1000))
    start = text.index("Sentence number 500 ")
    html = passage_html(passage(text), (start, start + len("Sentence number 500 is here.")))
    assert "<mark>Sentence number 500 is here.</mark>" in html
    assert html.count('<p class="cut">…</p>') == 2
    assert len(html) < MAX_SHOWN + 500
    assert passage_html(passage(text), None).startswith('<p dir="auto">Sentence number 0 ')


@pytest.mark.parametrize("kind", ["pdf", "markdown", "text"])
def test_the_page_of_a_source_marks_the_sentence_and_shows_the_passage(kind):
    before, after = "Something before it.", "Something after it."
    text = f"{before}\n\n{RULES}\n\n{after}"
    start = len(before) + 2
    blocks = (
        Block("text", 0, len(before)),
        Block("text", start, start + len(RULES)),
        Block("text", start + len(RULES) + 2, len(text)),
    )
    own = Passage("a@0", RULES, "Rules", "rules", Place(start, start + len(RULES)))
    source = Source(own, Document(kind, "Rules", text, blocks), start, start + len(RULES))
    dogs = (RULES.index("Dogs"), len(RULES))
    html = source_html(source, sentence=dogs, back="../?c=abc")
    assert f"<mark{FIRST_MARK}>Dogs travel free of charge on weekdays.</mark>" in html
    assert html.count("id=passage") == html.count("<mark") == 1
    assert re.search(r'<div class="passage"><p dir="auto">The ferry leaves', html)
    assert '<a href="../?c=abc">‹ Back to the chat</a>' in html
    whole = source_html(source)
    assert whole.count("id=passage") == 1
    assert "<mark id=passage tabindex=-1>The ferry leaves the old harbour at noon, unless the wind is stronger" in whole


def test_a_sentence_below_the_header_of_a_table_is_found_in_the_document():
    table = "Name | Age\nAda | 36\nBob | 41"
    own = Passage("a@0", "Name | Age\nBob | 41", "T", "t.csv", Place(20, len(table)))
    source = Source(own, Document("csv", "T", table, (Block("table", 0, len(table)),)), 20, len(table))
    assert marked_span(source, (11, 19)) == (20, 28)
    assert marked_span(source, (0, 10)) == (20, 28)  # the header stands elsewhere: all of the passage
    assert "<mark id=passage tabindex=-1>Bob</mark>" in source_html(source, sentence=(11, 19))


def test_where_no_mark_can_be_drawn_the_link_arrives_at_the_passage():
    text = "```sh\nls\n```"
    own = Passage("a@0", text, "T", "a.md", Place(0, len(text)))
    source = Source(own, Document("markdown", "T", text, (Block("code", 0, len(text)),)), 0, len(text))
    assert source_html(source, sentence=(0, 5)).count("id=passage") == 1


def test_addresses_say_what_is_marked_and_where_to_go_back():
    assert source_link("a/b@0") == "source/a%2Fb@0#passage"
    link = source_link("a@0", "k", (3, 9), "c1")
    assert link == "conversation/k/source/a@0?sentence=3-9&c=c1#passage"
