"""Conversations are kept, found, renamed, deleted and exported, each person's apart; judgements become training."""

import contextlib
import dataclasses
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag.data.labelled import load_examples
from rag.data.passages import Corpus
from rag.errors import DataError
from rag.serve.export import as_markdown, export_feedback, feedback_questions
from rag.serve.history import History, history_path
from rag.serve.html import sources_html
from rag.serve.turns import Turn
from rag.types import CANNOTANSWER, Answer, Query, ReadSpan, Response
from tests.fakes.conversations import HITS, turn

OLD_SOURCE = {"id", "text", "title", "source", "place", "score"}


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "deep" / "conversations.sqlite")


def test_a_conversation_comes_back_as_it_was(history):
    turns = [
        turn("when does it leave?", searched_for="when does the ferry leave?"),
        Turn("and back?", error="The model is out.", done=True),
        turn("who?", CANNOTANSWER, ()),
        Turn("still running"),
    ]
    key = history.keep("ada", "", turns)
    found = history.load("ada", key)
    assert [t.question for t in found] == ["when does it leave?", "and back?", "who?"]
    assert found[0].response.contexts == HITS
    assert found[0].response.answer.citations == ("a@0",)
    assert found[0].searched_for == "when does the ferry leave?"
    assert found[1].error == "The model is out."
    assert found[1].response is None
    assert found[2].response.answer.abstained
    assert History(history.path).load("ada", key) == found


def test_the_places_of_citations_are_kept(history):
    placed = turn("when?")
    answer = dataclasses.replace(placed.response.answer, marks=((2, ("a@0",)),))
    placed = dataclasses.replace(placed, response=dataclasses.replace(placed.response, answer=answer))
    (found,) = history.load("ada", history.keep("ada", "", [placed]))
    assert found.response.answer.marks == ((2, ("a@0",)),)
    assert "at [1] noon" in as_markdown("t", [found])


def test_what_a_reader_saw_is_kept_for_each_source(history):
    plain = turn("when?")
    seen = {"a@0": ReadSpan(20, 24, 6.25, 1.1), "b@0": ReadSpan(0, 0, 0.3, 2.0)}
    read = dataclasses.replace(plain, response=dataclasses.replace(plain.response, spans=seen))
    # Only what is shown is kept: the third passage was read, too.
    unseen = dataclasses.replace(read.response, spans={**seen, "c@0": ReadSpan(1, 2, 3.0, 1.0)})
    key = history.keep("ada", "", [dataclasses.replace(read, response=unseen)])
    (found,) = history.load("ada", key)
    assert found.response.spans == seen
    assert sources_html([found]) == sources_html([read])
    assert "<mark>noon</mark>" in sources_html([found])
    history.judge("ada", key, 1, True)
    history.keep("ada", key, [found])
    assert history.judgements("ada", key) == ["Like"]


def test_a_refusal_by_score_keeps_what_a_reader_saw_in_what_came_closest(history):
    seen = {"b@0": ReadSpan(9, 20, 2.5, 2.0)}
    response = Response(Query("chat", "q"), (), HITS, (), Answer(CANNOTANSWER), spans=seen)
    key = history.keep("ada", "", [Turn("q", response=response, done=True)])
    (found,) = history.load("ada", key)
    assert found.response.spans == seen
    assert found.response.contexts == ()


def test_a_turn_of_an_older_version_opens_as_before_and_keeps_its_judgement(history):
    key = history.keep("ada", "", [turn("one")])
    history.judge("ada", key, 1, True)
    with contextlib.closing(sqlite3.connect(history.path)) as database:
        ((body,),) = database.execute("SELECT body FROM turns").fetchall()
    assert "marks" not in json.loads(body)  # as older versions wrote it
    assert [set(stored) for stored in json.loads(body)["contexts"]] == [OLD_SOURCE, OLD_SOURCE]
    (found,) = history.load("ada", key)
    assert found.response.answer.marks == ()
    assert found.response.spans == {}
    assert "at noon [1]" in as_markdown("t", [found])
    history.keep("ada", key, [found, turn("two")])
    assert history.judgements("ada", key)[0] == "Like"


def test_a_refusal_by_score_keeps_what_came_closest(history):
    response = Response(Query("chat", "q"), (), HITS, (), Answer(CANNOTANSWER))
    key = history.keep("ada", "", [Turn("q", response=response, done=True)])
    (found,) = history.load("ada", key)
    assert found.response.contexts == ()
    assert found.response.reranked == HITS


def test_it_grows_and_shrinks_with_the_page(history):
    key = history.keep("ada", "", [turn("one")])
    assert history.keep("ada", key, [turn("one"), turn("two")]) == key
    assert [t.question for t in history.load("ada", key)] == ["one", "two"]
    history.keep("ada", key, [turn("one, asked again")])
    assert [t.question for t in history.load("ada", key)] == ["one, asked again"]
    assert history.keep("ada", "", [Turn("not done")]) == ""
    assert len(history.find("ada")) == 1


def test_nobody_reaches_the_conversations_of_another(history):
    key = history.keep("ada", "", [turn("secret")])
    assert history.load("eve", key) == history.find("eve") == []
    history.rename("eve", key, "mine")
    history.delete("eve", key)
    history.judge("eve", key, 1, False)
    assert history.keep("eve", key, [turn("other")]) != key
    assert [kept.title for kept in history.find("ada")] == ["secret"]
    assert list(feedback_questions(history)) == []


def test_they_are_listed_searched_renamed_and_deleted(history):
    first = history.keep("ada", "", [turn("When does  the ferry\nleave?")])
    second = history.keep("ada", "", [turn("What do dogs pay?", "nothing at all")])
    assert [kept.title for kept in history.find("ada")] == ["What do dogs pay?", "When does the ferry leave?"]
    assert [kept.id for kept in history.find("ada", "NOTHING dogs")] == [second]
    assert history.find("ada", "nothing ferry") == []
    history.rename("ada", first, "  Timetable ")
    history.rename("ada", second, "   ")
    assert {kept.title for kept in history.find("ada")} == {"Timetable", "What do dogs pay?"}
    history.delete("ada", first)
    assert [kept.id for kept in history.find("ada")] == [second]
    assert len(history.find("ada", limit=0)) == 0


def test_judgements_become_training_questions(history, tmp_path):
    key = history.keep("olga", "", [turn("one"), turn("two"), turn("three")])
    history.judge("olga", key, 1, True, " right ")
    history.judge("olga", key, 2, False, "wrong day")
    history.judge("olga", key, 3, True)
    history.judge("olga", key, 3, None)
    assert history.judgements("olga", key) == ["Like", "wrong day", None]
    assert history.judgements("eve", key) == []
    assert export_feedback(history, tmp_path / "train.txt") == 2
    rows = [json.loads(line) for line in (tmp_path / "train.txt").read_text("utf-8").splitlines()]
    assert [(row["retrieval_labels"], row["liked"], row["reason"]) for row in rows] == [
        ([1, 0], True, "right"),
        ([0, 0], False, "wrong day"),
    ]
    assert "olga" not in (tmp_path / "train.txt").read_text("utf-8")
    examples = load_examples(tmp_path / "train.txt", Corpus([hit.passage for hit in HITS]))
    (example,) = getattr(examples, "examples", examples)
    assert example.positives == ("a@0",) or list(example.positives) == ["a@0"]


def test_an_answer_that_changed_loses_its_judgement(history):
    key = history.keep("ada", "", [turn("one")])
    history.judge("ada", key, 1, True)
    history.keep("ada", key, [turn("one")])
    assert len(list(feedback_questions(history))) == 1
    history.keep("ada", key, [turn("one", "at seven")])
    assert list(feedback_questions(history)) == []


def test_markdown_shows_answers_and_sources_and_means_nothing_else(history):
    text = as_markdown(
        "My *trip*", [turn("when <b>?"), turn("who?", CANNOTANSWER, ()), Turn("x", error="out", done=True)]
    )
    assert text.startswith("# My \\*trip\\*\n")
    assert "**when \\<b\\>?**" in text
    assert "at noon [1]" in text
    assert "- [1] Ferry (m/a.pdf, page 2)" in text
    assert "> The ferry leaves at noon." in text
    assert "Not in these documents." in text
    assert "(out)" in text
    assert "Dogs" not in text  # not cited


def test_every_index_has_a_file_of_its_own(tmp_path):
    paths = {history_path(tmp_path, folder) for folder in ("a/index", "b/index", "./a/index")}
    assert len(paths) == 2


def test_many_at_once(history):
    def work(n):
        key = history.keep(f"person {n % 5}", "", [turn(f"question {n}")])
        return history.load(f"person {n % 5}", key)[0].question

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(work, range(40))) == [f"question {n}" for n in range(40)]
    assert sum(len(history.find(f"person {n}")) for n in range(5)) == 40


def test_a_foreign_or_damaged_file_is_left_alone(tmp_path):
    (tmp_path / "a.sqlite").write_text("not a database, but long enough to be looked at as one " * 5, "utf-8")
    with pytest.raises(DataError, match="move it away"):
        History(tmp_path / "a.sqlite")
    with sqlite3.connect(tmp_path / "b.sqlite") as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(DataError, match="another version"):
        History(tmp_path / "b.sqlite")


def test_files_of_a_conversation_are_remembered_with_it(history):
    key = history.keep("ada", "", [turn("one")], "ab" * 16)
    assert [t.attached for t in history.load("ada", key)] == ["ab" * 16]
    assert history.attached("ada", key) == "ab" * 16
    assert history.attached("eve", key) == ""
    history.attach("eve", key, "cd" * 16)
    assert history.every_attached() == {"ab" * 16}
    history.attach("ada", key, "ef" * 16)
    history.keep("ada", key, [turn("one"), turn("two")], "ef" * 16)
    assert history.every_attached() == {"ef" * 16}
    history.delete("ada", key)
    assert history.every_attached() == set()


def test_a_store_of_the_version_before_is_taken_over(tmp_path):
    history = History(tmp_path / "conversations.sqlite")
    key = history.keep("ada", "", [turn("one")])
    with sqlite3.connect(history.path) as database:
        database.executescript("ALTER TABLE conversations DROP COLUMN attached; PRAGMA user_version=1;")
    database.close()
    again = History(history.path)
    assert [t.question for t in again.load("ada", key)] == ["one"]
    again.attach("ada", key, "ab" * 16)
    assert History(history.path).attached("ada", key) == "ab" * 16


def test_what_one_conversation_alone_holds_is_no_training_question(history, tmp_path):
    for attached, narrowed, question in (("", False, "all?"), ("", True, "some?"), ("ab" * 16, False, "own?")):
        refused = turn(question, CANNOTANSWER, (), narrowed=narrowed)
        key = history.keep("ada", "", [refused], attached)
        history.judge("ada", key, 1, True)
    rows = {row["question"]: row.get("answer") for row in feedback_questions(history)}
    assert rows == {"all?": {"text": CANNOTANSWER, "aliases": []}, "some?": None}
    assert {t.narrowed for t in history.load("ada", key)} == {False}


def test_files_added_before_the_first_answer_ends_are_kept_with_the_conversation(history):
    key = history.keep("ada", "", [turn("one")])
    history.keep("ada", key, [turn("one"), turn("two")], "ab" * 16)
    assert history.attached("ada", key) == "ab" * 16
    history.keep("ada", key, [turn("one")], "")
    assert history.attached("ada", key) == "ab" * 16


def test_a_store_that_cannot_be_written_now_is_not_called_damaged(history, monkeypatch):
    connect = sqlite3.connect
    with contextlib.closing(connect(history.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0))
        with pytest.raises(DataError, match=r"locked.*try again") as told:
            history.keep("ada", "", [turn("one")])
    assert "damaged" not in str(told.value)
    assert history.keep("ada", "", [turn("one")])
