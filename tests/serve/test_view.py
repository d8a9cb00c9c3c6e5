"""A turn as the page's view: what an answer, a refusal and their sources are shown as."""

import dataclasses
import re

import pytest

from rag.evidence import USUAL_SCALE, MatchScale
from rag.serve.turns import Turn
from rag.serve.view import turn_view
from rag.serve.view.cards import file_of, title_of
from rag.serve.view.ranks import about_scale, rank_of, scale_about
from rag.serve.view.writing import safe_address
from rag.types import CANNOTANSWER, Answer, Hit, Passage, Place, Query, ReadSpan, Response, Support
from tests.fakes.conversations import turn
from tests.serve.test_view_markdown import Checked

FERRY = Passage("f1@0", "The ferry leaves at noon. Dogs are free.", "Rules", "docs/rules.pdf", Place(0, 40, 2))
COPY = Passage("f2@0", "The ferry leaves at noon.  Dogs are free.", "Old rules", "docs/old.pdf", Place(0, 41, 5))
LIGHT = Passage("9c8b7a@3", "The lighthouse was built in 1874 by Ada Crane.", "", "", None)
HITS = (Hit(FERRY, 4.5), Hit(COPY, 4.4), Hit(LIGHT, -3.0))


def view(text, marks=(), citations=None, hits=HITS, done=True, spans=(), support=None, question="When?", **more):
    cited = tuple(pid for _, ids in marks for pid in ids) if citations is None else citations
    answer = Answer(text, cited, text, marks)
    response = Response(
        Query("q", question), reranked=hits, contexts=hits, answer=answer, spans=dict(spans), support=support
    )
    options = {name: more.pop(name) for name in list(more) if name not in Turn.__dataclass_fields__}
    return turn_view(Turn(question, response=response, done=done, **more), number=3, conversation="c1", **options)


FIELDS = {
    *("number", "conversation", "question", "searched_for", "state", "status", "seconds", "error", "answer_html"),
    *("answer_markdown", "quote_html", "support", "sources", "offers", "notes", "feedback", "reason", "model"),
}


def test_every_view_has_the_same_fields():
    for one in (view("At noon."), turn_view(Turn("q", status="Searching…"), number=1), view(CANNOTANSWER)):
        assert set(one) == FIELDS


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"status": "Searching…"}, "working"),
        ({"done": True, "error": "It broke."}, "error"),
        ({"done": True, "stopped": True}, "stopped"),
        ({"done": True}, "refused"),
    ],
)
def test_the_state_says_what_a_turn_has_come_to(more, state):
    shown = turn_view(Turn("q", **more), number=1)
    assert shown["state"] == state
    assert shown["status"] == more.get("status", "")
    assert shown["error"] == more.get("error", "")


def test_citations_stand_in_the_sentence_as_buttons_with_a_name():
    shown = view("It leaves at noon, since 1874.", ((17, ("f1@0",)), (29, ("9c8b7a@3",))))
    assert shown["state"] == "answered"
    assert shown["answer_html"] == (
        '<p dir="auto">It leaves at noon <button type="button" class="cite" data-source="1" '
        'aria-label="Source 1: Rules, rules.pdf, page 2">[1]</button>, since 1874 <button type="button" class="cite" '
        'data-source="3" aria-label="Source 3: Source 3">[3]</button>.</p>'
    ).replace("Source 3: Source 3", "Source 3: Source 3")


def test_citations_of_equal_passages_are_one():
    shown = view("At noon.", ((7, ("f1@0", "f2@0")),))
    assert re.findall(r"data-source=\"(\d)\"", shown["answer_html"]) == ["1"]
    first, other = shown["sources"]
    assert (first["n"], other["n"]) == (1, 3)
    assert [equal["file"] for equal in first["equal_to"]] == ["old.pdf"]
    assert first["equal_to"][0]["page"] == 5
    again = view("At noon.", ((7, ("f2@0",)),))
    assert re.findall(r"data-source=\"(\d)\"", again["answer_html"]) == ["1"]
    assert again["sources"][0]["cited"]


def test_citations_keep_tables_and_code_whole():
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n\nafter"
    shown = view(table, ((table.index("\n\nafter"), ("f1@0",)),))["answer_html"]
    assert re.search(r'<td dir="auto">2\s*<button', shown)
    code = "Run:\n\n```sh\nls\n```\nafter"
    shown = view(code, ((code.index("\nafter"), ("f1@0",)),))["answer_html"]
    assert "<code>ls</code></pre></figure>" in shown
    assert shown.index("</figure>") < shown.index("<button") < shown.index("after")


def test_an_answer_without_marks_cites_at_its_end():
    assert view("At noon.", citations=("f1@0",))["answer_html"].endswith(">[1]</button></p>")


def test_markers_of_an_answer_that_grows_are_shown_as_they_will_be():
    shown = view("It leaves at noon [1] and", done=False)
    assert shown["state"] == "working"
    assert "It leaves at noon <button" in shown["answer_html"]
    assert shown["sources"][0]["cited"]
    assert shown["quote_html"] == ""


def test_what_is_copied_is_markdown_with_citations_and_sources():
    shown = view("It leaves **at noon**.", ((21, ("f1@0",)),))
    assert shown["answer_markdown"] == ("It leaves **at noon** [1].\n\nSources:\n\n- [1] Rules, rules.pdf, page 2")
    assert view(CANNOTANSWER)["answer_markdown"] == "Not in these documents."


def test_below_a_short_answer_stands_its_sentence_with_the_words_marked():
    shown = view("at noon", ((7, ("f1@0",)),))
    assert shown["sources"][0]["sentence"] == "The ferry leaves at noon."
    assert "<p>The ferry leaves <mark>at noon</mark>.</p>" in shown["quote_html"]
    assert "Rules, rules.pdf, page 2</footer>" in shown["quote_html"]
    assert "<mark>The ferry leaves at noon.</mark> Dogs are free." in shown["sources"][0]["excerpt_html"]


@pytest.mark.parametrize(
    "text", ["The ferry leaves at noon.", "It leaves at noon, says the timetable of the harbour. " * 3, CANNOTANSWER]
)
def test_no_quote_stands_below_a_sentence_that_says_it_or_a_long_answer(text):
    assert view(text, citations=("f1@0",))["quote_html"] == ""


def test_a_refusal_says_what_was_searched_and_offers_what_to_do():
    shown = view(CANNOTANSWER, question="Who <b>built</b> it?", narrowed=True, searched_in="“plans”")
    assert shown["state"] == "refused"
    text = Checked(shown["answer_html"].replace("<bdi>", "").replace("</bdi>", "")).text
    assert text.startswith("Not in these documents. I searched “plans” for “Who <b>built</b> it?”.")
    assert [offer["kind"] for offer in shown["offers"]] == ["everything", "lower", "add"]
    assert len(shown["sources"]) == 2
    plain = view(CANNOTANSWER, may_add=False, may_lower=False)
    assert plain["offers"] == []
    assert "I searched all documents for" in plain["answer_html"]
    nothing = turn_view(Turn("q", response=Response(Query("q", "q"), answer=Answer(CANNOTANSWER)), done=True), number=1)
    assert "No passage came close." in nothing["answer_html"]
    assert nothing["sources"] == []


def test_an_answer_offers_nothing():
    assert view("At noon.")["offers"] == []


def test_sources_are_there_before_the_answer():
    response = Response(Query("q", "When?"), reranked=HITS, contexts=HITS)
    shown = turn_view(Turn("When?", response=response, status="Reading…"), number=1, seconds=2.34)
    assert [source["n"] for source in shown["sources"]] == [1, 3]
    assert (shown["seconds"], shown["answer_html"]) == (2.3, "")


def test_what_was_found_first_is_shown_without_a_score_while_passages_are_compared():
    found = Turn("When?", response=Response(Query("q", "When?"), retrieved=HITS), status="Comparing passages…")
    shown = turn_view(found, number=1)["sources"]
    assert [(source["n"], source["rank"], source["score"]) for source in shown] == [(1, None, None), (3, None, None)]
    assert turn_view(dataclasses.replace(found, done=True, stopped=True), number=1)["sources"] == []


def test_a_card_names_file_and_page_and_no_id():
    shown = view("At noon.", ((7, ("f1@0",)),))
    card, other = shown["sources"]
    assert (card["title"], card["file"], card["path"], card["page"]) == ("Rules", "rules.pdf", "docs/rules.pdf", 2)
    assert card["href"] == "source/f1@0?sentence=0-25&c=c1#passage"
    assert (other["title"], other["file"], other["page"], other["cited"]) == ("Source 3", "", None, False)
    for one in shown["sources"]:
        said = {name: value for name, value in one.items() if name not in ("href", "equal_to")}
        assert "9c8b7a" not in str(said)
        assert "f1@0" not in str(said)


@pytest.mark.parametrize(
    ("title", "source", "expected"),
    [
        ("about:blank", "a/b/plan.pdf", "plan.pdf"),
        ("Microsoft Word - x.doc › Chapter 1", "plan.pdf", "Chapter 1"),
        ("Plan › Plan › Costs", "plan.pdf", "Plan › Costs"),
        ("", "https://example.org/a/b/", "example.org/a/b"),
        ("", "c:\\docs\\plan.pdf", "plan.pdf"),
        ("untitled", "", "Source 2"),
    ],
)
def test_titles_that_are_none_give_way_to_the_file(title, source, expected):
    assert title_of(Passage("x@0", "text", title, source), 2) == expected


def test_the_address_of_a_web_page_is_a_link_and_another_is_none():
    web = Hit(Passage("w@0", "Text.", "Web", "https://example.org/a?b=1", Place(0, 5)), 1.0)
    card = view("x", hits=(web,))["sources"][0]
    assert (card["address"], card["file"]) == ("https://example.org/a?b=1", "example.org/a")
    assert file_of(Passage("w@0", "", "", "javascript:alert(1)", Place(0, 1))) == "javascript:alert(1)"
    assert (
        view("x", hits=(Hit(Passage("w@0", "a", "", "javascript:alert(1)", Place(0, 1)), 1.0),))["sources"][0][
            "address"
        ]
        == ""
    )
    assert safe_address("https://a.example") == "https://a.example"
    assert safe_address("javascript://a.example") == ""


def test_the_source_of_a_corpus_row_is_a_file_only_where_it_looks_like_one():
    assert file_of(Passage("a@0", "", "Loops", "python")) == ""
    assert file_of(Passage("a@0", "", "Loops", "docs/loops.txt")) == "loops.txt"
    assert file_of(Passage("a@0", "", "Licence", "docs/LICENSE", Place(0, 1))) == "LICENSE"
    assert title_of(Passage("a@0", "", "", "python"), 3) == "python"


def test_the_rank_is_a_word_and_the_number_is_beside_it():
    ranks = [rank_of(Hit(FERRY, score), None, USUAL_SCALE, is_cited=False) for score in (5.0, 2.0, 1.9, -1.0, -1.1)]
    assert ranks == ["strong", "strong", "likely", "likely", "weak"]
    assert rank_of(Hit(FERRY, -5.0), None, USUAL_SCALE, is_cited=True) == "likely"
    seen = Response(Query("q", "q"), spans={"f1@0": ReadSpan(0, 3, 2.0, 1.0)})
    assert rank_of(Hit(FERRY, -5.0), seen, USUAL_SCALE, is_cited=False) == "likely"
    assert view("x")["sources"][0]["score"] == 4.5


def test_the_rank_follows_the_scale_of_the_reranker_and_is_no_word_without_one():
    own = MatchScale(0.9, 0.3)
    ranks = [rank_of(Hit(FERRY, score), None, own, is_cited=False) for score in (0.95, 0.9, 0.5, 0.3, 0.2)]
    assert ranks == ["strong", "strong", "likely", "likely", "weak"]
    assert rank_of(Hit(FERRY, 0.2), None, own, is_cited=True) == "likely"
    assert rank_of(Hit(FERRY, 9.0), None, None, is_cited=True) is None
    assert [view("x", scale=scale)["sources"][0]["rank"] for scale in (MatchScale(5, 4), None)] == ["likely", None]


@pytest.mark.parametrize("scale", [MatchScale(5.7, 1.25), USUAL_SCALE, None])
def test_a_scale_is_kept_beside_its_turn(scale):
    assert scale_about({"model": "qwen", **about_scale(scale)}) == scale
    assert scale_about({"model": "qwen"}) == USUAL_SCALE  # as versions kept turns that knew no scale
    assert scale_about({"strong_from": "x", "likely_from": 1}) == USUAL_SCALE


@pytest.mark.parametrize(
    ("support", "level", "text"),
    [
        (Support(("f1@0",), 3.0, 1.0), "words", "Word for word in [1]"),
        (Support((), 3.0, 0.9), "meaning", "Supported by [1], in other words"),
        (Support((), 3.0, 0.1), "weak", "Only weakly supported by [1]"),
    ],
)
def test_how_far_an_answer_is_supported_is_said_in_words(support, level, text):
    shown = view("At noon.", ((7, ("f1@0", "f2@0")),), support=support)["support"]
    assert (shown["level"], shown["text"]) == (level, text)
    assert "Score" in shown["detail"]


def test_nothing_of_support_is_said_of_what_was_not_checked_or_stopped():
    assert view("At noon.")["support"] is None
    assert view("At noon.", support=Support((), 1.0), stopped=True)["support"] is None


def test_hostile_titles_names_and_answers_are_text():
    hostile = "<img src=x onerror=alert(1)>\"'"
    bad = Passage("x@0", hostile, hostile, f"{hostile}.pdf", Place(0, 9, 1))
    shown = view(f"at {hostile}", ((2, ("x@0",)),), hits=(Hit(bad, 1.0),), question=hostile)
    for html in (shown["answer_html"], shown["sources"][0]["excerpt_html"]):
        Checked(re.sub(r"<button [^>]*>|</button>", "", html))
    names = re.findall(r"<button ([^>]*)>", shown["answer_html"])
    assert names
    assert all("onerror=alert(1)&gt;" in name and "<" not in name for name in names)


def test_an_old_turn_is_shown_as_it_was_stored():
    shown = turn_view(turn("when does the ferry leave"), number=1, feedback=1, model="m")
    assert shown["quote_html"].startswith("<blockquote")
    assert (shown["feedback"], shown["model"], shown["state"]) == (1, "m", "answered")
    stopped = turn_view(dataclasses.replace(turn("q"), stopped=True), number=1)
    assert (stopped["state"], stopped["quote_html"]) == ("stopped", "")
    assert "at noon" in stopped["answer_html"]
