"""Conversations are kept, found, renamed, deleted and exported, each person's apart; judgements become training."""

import contextlib
import dataclasses
import datetime
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag.data.labelled import load_examples
from rag.data.passages import Corpus
from rag.data.questions import load_questions
from rag.errors import DataError
from rag.serve import working_turns
from rag.serve.export import as_markdown, export_feedback, feedback_questions, without_html
from rag.serve.history import History, history_path
from rag.serve.kept import Kept
from rag.serve.turns import Turn
from rag.serve.view import turn_view
from rag.types import CANNOTANSWER, Answer, Query, ReadSpan, Response
from tests.fakes.conversations import HITS, old_store, turn

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
    sources = turn_view(found, number=1)["sources"]
    assert sources == turn_view(read, number=1)["sources"]
    assert sources[0]["sentence"] == "The ferry leaves at noon."
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


def test_a_search_finds_what_grows_what_was_edited_and_what_came_back(history):
    begun = history.begin("ada", "", "When does the ferry leave?")
    key = begun.conversation
    assert [kept.id for kept in history.find("ada", "ferry")] == [key]
    history.finish(begun, turn("When does the ferry leave?", "at noon"))
    assert [kept.id for kept in history.find("ada", "ferry NOON")] == [key]
    history.rename("ada", key, "Timetable")
    edited = history.begin("ada", key, "When do dogs leave?", from_turn=1)
    assert history.find("ada", "noon") == history.find("ada", "ferry") == []
    history.finish(edited, turn("When do dogs leave?", "at seven"))
    assert [kept.id for kept in history.find("ada", "seven dogs table")] == [key]
    assert history.uncut("ada", key) == 1
    assert [kept.id for kept in history.find("ada", "noon")] == [key]
    assert history.find("ada", "seven") == []


def test_a_search_takes_every_letter_as_it_is_and_reads_no_sources(history):
    key = history.keep("ada", "", [turn("Die Straße nach Ärö?", "100 % of a_b")])
    for words in ("STRASSE", "ärö", "ÄRÖ", "100 %", "a_b"):
        assert [kept.id for kept in history.find("ada", words)] == [key], words
    for words in ("Aro", "a%b", "axb", "Ferry"):  # a ferry stands in the source alone
        assert history.find("ada", words) == [], words


def test_a_search_reads_no_stored_json(history):
    key = history.keep("ada", "", [turn("one", "at noon")])
    with contextlib.closing(sqlite3.connect(history.path)) as database, database:
        database.execute("UPDATE turns SET body = ''")
    assert [kept.id for kept in history.find("ada", "noon")] == [key]


def test_found_conversations_are_counted_before_they_are_cut_into_pages(history):
    keys = [history.keep("ada", "", [turn(f"ferry {n}"), turn("more")]) for n in range(5)]
    history.keep("ada", "", [turn("dogs")])
    assert [kept.id for kept in history.find("ada", "ferry", 2, offset=2)] == [keys[2], keys[1]]
    assert history.find("ada", "ferry", 2, offset=5) == []


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


def test_questions_whose_answers_nobody_judged_are_written_without_labels(history, tmp_path):
    key = history.keep("olga", "", [turn("one"), turn("two"), turn("three")])
    history.judge("olga", key, 2, True)
    gone = history.keep("olga", "", [turn("four")])
    history.delete("olga", gone)
    assert export_feedback(history, tmp_path / "asked.txt", unjudged=True) == 2
    assert [question.text for question in load_questions(tmp_path / "asked.txt")] == ["one", "three"]
    text = (tmp_path / "asked.txt").read_text("utf-8")
    assert not any(word in text for word in ("olga", "answer", "evidences"))
    assert export_feedback(history, tmp_path / "asked.txt") == 1  # a file that this wrote is replaced


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


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_store_of_an_older_version_is_taken_over_whole(tmp_path, version):
    path = old_store(tmp_path / "conversations.sqlite", version, [turn("one"), turn("two")])
    again = History(path)
    assert again.find("ada") == [Kept("k", "one", "2025-03-04T05:06:07+00:00", 2)]
    assert [kept.id for kept in again.find("ada", "TWO noon")] == ["k"]
    assert [t.question for t in again.load("ada", "k")] == ["one", "two"]
    assert again.load("ada", "k")[0].response.contexts == HITS
    assert again.judgements("ada", "k") == ["Like", None]
    again.attach("ada", "k", "ab" * 16)
    begun = again.begin("ada", "k", "three")
    assert (begun.conversation, begun.number) == ("k", 3)
    assert again.discard("ada", "k")
    opened = History(path)
    assert opened.attached("ada", "k") == "ab" * 16
    assert opened.restore("ada", "k")
    assert [kept.turn.question for kept in opened.open("ada", "k").turns] == ["one", "two", "three"]


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


# -- turns that are being answered -------------------------------------------------------------------------------------


def states(history, key, person="ada"):
    """Each turn of a conversation: its question, whether it is done, and whether it was stopped."""
    return [(t.turn.question, t.turn.done, t.turn.stopped) for t in history.open(person, key).turns]


def growing(text, question="when?"):
    """A turn in the middle of its answer."""
    return dataclasses.replace(turn(question, text, ()), done=False, status="Reading…")


@pytest.fixture
def at_once(monkeypatch):
    """Every snapshot is written."""
    monkeypatch.setattr(working_turns, "SECONDS_BETWEEN_WRITES", 0.0)


def test_a_turn_is_kept_from_the_moment_it_begins_and_grows(history, at_once):
    begun = history.begin("ada", "", "  When does\nit leave? ", attached="ab" * 16)
    assert (begun.number, begun.title, begun.attached) == (1, "When does it leave?", "ab" * 16)
    assert begun.before == ()
    assert states(history, begun.conversation) == [("When does\nit leave?", False, False)]
    assert [kept.title for kept in history.find("ada")] == ["When does it leave?"]
    assert history.grow(begun, growing("at"))
    (kept,) = history.open("ada", begun.conversation).turns
    assert (kept.turn.response.answer.text, kept.turn.status, kept.turn.done) == ("at", "Reading…", False)
    assert kept.turn.response.contexts == HITS
    assert history.finish(begun, turn("when?"), {"model": "qwen", "seconds": 1.5})
    (kept,) = history.open("ada", begun.conversation).turns
    assert (kept.turn.response.answer.text, kept.turn.done, kept.turn.stopped) == ("at noon", True, False)
    assert kept.about == {"model": "qwen", "seconds": 1.5}


def test_snapshots_are_written_once_a_second_and_the_end_always(history, monkeypatch):
    at = [100.0]
    monkeypatch.setattr(working_turns.time, "monotonic", lambda: at[0])
    begun = history.begin("ada", "", "when?")

    def text():
        response = history.open("ada", begun.conversation).turns[0].turn.response
        return response.answer.text if response else None

    assert history.grow(begun, growing("a"))
    assert text() is None
    at[0] = 101.0
    assert history.grow(begun, growing("at"))
    assert history.grow(begun, growing("at no"))
    assert text() == "at"
    history.finish(begun, turn("when?"))
    assert text() == "at noon"


def test_a_turn_that_ends_undone_is_stopped_with_what_there_is(history):
    begun = history.begin("ada", "", "when?")
    history.finish(begun, growing("at no"))
    (kept,) = history.open("ada", begun.conversation).turns
    assert (kept.turn.response.answer.text, kept.turn.stopped, kept.turn.status) == ("at no", True, "")
    assert history.load("ada", begun.conversation) == [kept.turn]


def test_a_turn_whose_process_ended_is_stopped_with_what_there_is(history, at_once):
    begun = history.begin("ada", "", "when?")
    history.grow(begun, growing("at no"))
    again = History(history.path)
    (kept,) = again.open("ada", begun.conversation).turns
    assert (kept.turn.response.answer.text, kept.turn.done, kept.turn.stopped) == ("at no", True, True)
    assert states(history, begun.conversation) == [("when?", False, False)]  # where it goes on
    following = again.begin("ada", begun.conversation, "and back?")
    assert (following.number, [t.stopped for t in following.before]) == (2, [True])


@pytest.mark.parametrize("question", ["", "  ", "\n\t"])
def test_a_blank_question_is_never_kept(history, question):
    with pytest.raises(DataError, match="Type a question first"):
        history.begin("ada", "", question)
    assert history.keep("ada", "", [Turn(question, error="Type a question first.", done=True)]) == ""
    assert history.find("ada") == []


def test_an_edited_question_takes_the_place_of_what_came_after_it(history):
    key = history.keep("ada", "", [turn("one"), turn("two"), turn("three")])
    history.judge("ada", key, 2, False, "wrong day")
    begun = history.begin("ada", key, "two, edited", from_turn=2)
    assert (begun.conversation, begun.number, begun.n_cut) == (key, 2, 2)
    assert [t.question for t in begun.before] == ["one"]
    history.finish(begun, turn("two, edited"))
    assert [t.question for t in history.load("ada", key)] == ["one", "two, edited"]
    assert history.judgements("ada", key) == [None, None]
    assert list(feedback_questions(history)) == []
    assert history.open("ada", key).n_cut == 2
    assert history.uncut("eve", key) == 0
    assert history.uncut("ada", key) == 2
    assert [t.question for t in history.load("ada", key)] == ["one", "two", "three"]
    assert history.judgements("ada", key) == [None, "wrong day", None]
    assert history.open("ada", key).n_cut == 0


def test_what_was_cut_comes_back_step_by_step(history):
    key = history.keep("ada", "", [turn("one"), turn("two")])
    for question in ("first try", "second try"):
        history.finish(history.begin("ada", key, question, from_turn=1), turn(question))
    assert history.uncut("ada", key) == 1
    assert [t.question for t in history.load("ada", key)] == ["first try"]
    assert history.uncut("ada", key) == 2
    assert [t.question for t in history.load("ada", key)] == ["one", "two"]
    assert history.uncut("ada", key) == 0


@pytest.mark.parametrize(("from_turn", "number"), [(None, 3), (2, 2), (3, 3), (99, 3), (0, 3), (-5, 1)])
def test_a_turn_never_leaves_a_gap(history, from_turn, number):
    key = history.keep("ada", "", [turn("one"), turn("two")])
    assert history.begin("ada", key, "next", from_turn=from_turn).number == number
    assert [kept.number for kept in history.open("ada", key).turns] == [*range(1, number + 1)]


def test_an_answer_whose_turn_was_taken_away_goes_nowhere(history, at_once):
    begun = history.begin("ada", "", "one")
    other = history.begin("ada", begun.conversation, "one, edited", from_turn=1)
    assert not history.grow(begun, growing("at", "one"))
    assert not history.finish(begun, turn("one"))
    assert history.finish(other, turn("one, edited", "at seven"))
    assert [t.response.answer.text for t in history.load("ada", begun.conversation)] == ["at seven"]
    third = history.begin("ada", begun.conversation, "two")
    history.delete("ada", begun.conversation)
    assert not history.grow(third, growing("at", "two"))
    assert not history.finish(third, turn("two"))
    assert history.find("ada") == []


def test_an_answer_goes_on_where_it_cannot_be_written_just_now(history, at_once, monkeypatch):
    begun = history.begin("ada", "", "one")
    connect = sqlite3.connect
    with contextlib.closing(connect(history.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0))
        assert history.grow(begun, growing("at"))
        with pytest.raises(DataError, match="try again"):
            history.finish(begun, turn("one"))
    assert states(history, begun.conversation) == [("one", True, True)]


def test_the_title_follows_the_first_question_until_it_is_given(history):
    begun = history.begin("ada", "", "wehn?")
    key = begun.conversation
    assert history.begin("ada", key, "when?", from_turn=1).title == "when?"
    assert history.begin("ada", key, "and back?").title == "when?"
    history.uncut("ada", key)
    assert [kept.title for kept in history.find("ada")] == ["wehn?"]
    history.rename("ada", key, "Ferries")
    assert history.begin("ada", key, "who?", from_turn=1).title == "Ferries"


def test_asking_in_the_conversation_of_another_begins_ones_own(history):
    key = history.keep("ada", "", [turn("secret")])
    begun = history.begin("eve", key, "mine", from_turn=1)
    assert begun.conversation != key
    assert begun.before == ()
    assert history.open("eve", key) is None
    assert [t.question for t in history.load("ada", key)] == ["secret"]


def test_two_pages_ask_in_one_conversation_at_once(history):
    key = history.keep("ada", "", [turn("one")])
    first, second = history.begin("ada", key, "from here"), history.begin("ada", key, "from there")
    assert (first.number, second.number) == (2, 3)
    history.finish(second, turn("from there", "there"))
    history.finish(first, turn("from here", "here"))
    assert [t.response.answer.text for t in history.load("ada", key)] == ["at noon", "here", "there"]


def test_twenty_writers_at_once_lose_nothing(history, at_once):
    shared = history.keep("ada", "", [turn("one")])

    def work(n):
        own = ""
        for step in range(3):
            begun = history.begin(f"person {n}", own, f"{n}, {step}")
            own = begun.conversation
            assert [t.question for t in begun.before] == [f"{n}, {earlier}" for earlier in range(step)]
            assert history.grow(begun, growing("at", f"{n}, {step}"))
            assert history.finish(begun, turn(f"{n}, {step}", f"answer {n}"))
        begun = history.begin("ada", shared, f"shared {n}")
        assert history.finish(begun, turn(f"shared {n}", f"answer {n}"))
        return own

    with ThreadPoolExecutor(20) as pool:
        for n, own in enumerate(pool.map(work, range(20))):
            assert states(history, own, f"person {n}") == [(f"{n}, {step}", True, False) for step in range(3)]
    turns = history.load("ada", shared)
    assert [t.question for t in turns[:1]] == ["one"]
    assert {(t.question, t.response.answer.text) for t in turns[1:]} == {
        (f"shared {n}", f"answer {n}") for n in range(20)
    }
    assert [kept.number for kept in history.open("ada", shared).turns] == [*range(1, 22)]


# -- deleted, and gone -------------------------------------------------------------------------------------------------


def test_a_deleted_conversation_is_nowhere_until_it_is_restored(history):
    key = history.keep("ada", "", [turn("one")], "")
    history.judge("ada", key, 1, True)
    assert not history.discard("eve", key)
    assert history.discard("ada", key)
    assert history.find("ada") == history.load("ada", key) == list(feedback_questions(history)) == []
    assert history.open("ada", key) is None
    assert [kept.id for kept in history.find("ada", deleted=True)] == [key]
    assert history.find("eve", deleted=True) == []
    assert not history.restore("eve", key)
    assert history.restore("ada", key)
    assert [t.question for t in history.load("ada", key)] == ["one"]
    assert len(list(feedback_questions(history))) == 1


def test_asking_in_a_deleted_conversation_brings_it_back(history):
    key = history.keep("ada", "", [turn("one")])
    history.discard("ada", key)
    begun = history.begin("ada", key, "two")
    assert (begun.conversation, begun.number) == (key, 2)
    assert [kept.id for kept in history.find("ada")] == [key]


def test_what_was_deleted_is_gone_for_good_after_some_days(history):
    def days_ago(days):
        return (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)).isoformat(timespec="milliseconds")

    old, lately = (history.keep("ada", "", [turn(word)], key * 16) for word, key in (("old", "ab"), ("new", "cd")))
    cut = history.keep("ada", "", [turn("one")])
    history.begin("ada", cut, "one, edited", from_turn=1)
    for key in (old, lately):
        history.discard("ada", key)
    assert history.every_attached() == {"ab" * 16, "cd" * 16}  # their files wait, too
    with contextlib.closing(sqlite3.connect(history.path)) as database, database:
        for key, days in ((old, 7.1), (lately, 6.9)):
            database.execute("UPDATE conversations SET deleted = ? WHERE id = ?", (days_ago(days), key))
        database.execute("UPDATE cut_turns SET at = ?", (days_ago(7.1),))
    again = History(history.path)
    assert [kept.id for kept in again.find("ada", deleted=True)] == [lately]
    assert again.every_attached() == {"cd" * 16}
    assert again.open("ada", cut).n_cut == 0
    with contextlib.closing(sqlite3.connect(history.path)) as database:
        assert database.execute("SELECT count(*) FROM turns").fetchone() == (2,)
        assert database.execute("SELECT count(*) FROM cut_turns").fetchone() == (0,)


def test_everything_of_a_person_is_erased_and_nothing_of_another(history):
    kept = history.keep("eve", "", [turn("eve's")])
    first = history.keep("ada", "", [turn("lighthouse", "a lighthouse keeper")], "ab" * 16)
    history.begin("ada", first, "edited", from_turn=1)
    history.discard("ada", history.keep("ada", "", [turn("lighthouse")]))
    assert history.erase("ada") == ["ab" * 16]
    assert history.find("ada") == history.find("ada", deleted=True) == []
    assert [t.question for t in history.load("eve", kept)] == ["eve's"]
    for path in history.path.parent.iterdir():
        assert b"lighthouse" not in path.read_bytes(), path


def test_the_list_says_how_many_turns_there_are_and_goes_on_after_a_number(history):
    keys = [history.keep("ada", "", [turn("one")] * n) for n in (1, 2, 3)]
    assert [(kept.id, kept.n_turns) for kept in history.find("ada")] == [(keys[2], 3), (keys[1], 2), (keys[0], 1)]
    assert [kept.id for kept in history.find("ada", limit=1, offset=1)] == [keys[1]]
    assert [kept.id for kept in history.find("ada", "one noon", offset=2)] == [keys[0]]


# -- exported ----------------------------------------------------------------------------------------------------------


def test_an_exported_answer_stays_markdown_with_its_citations_and_the_sentence_they_came_from(history):
    answer = "Two ferries:\n\n- **noon**\n- `seven`\n\n```sh\ncat <b> ![x]\n```\n"
    text = as_markdown("t", [turn("when?", answer)])
    assert answer.strip() in text
    assert "- [1] Ferry (m/a.pdf, page 2)\n\n    > The ferry leaves at noon.\n" in text


def test_turns_without_an_answer_say_why_in_the_export():
    waited = Turn("waited?", done=True, stopped=True)
    text = as_markdown("t", [waited, growing("at no"), turn("who?", CANNOTANSWER, ())])
    assert "**waited?**\n\n(stopped before there was an answer)\n" in text
    assert "at no\n\n(stopped)\n" in text
    assert "**who?**\n\nNot in these documents.\n" in text


HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    "markdown",
    [
        HOSTILE,
        f"- a\n  ```\n{HOSTILE}",  # the list ends, and with it the block of code
        f"> ```\n{HOSTILE}",
        f"```\na\n```\n{HOSTILE}",
        f"```\na\n   `````  \n{HOSTILE}",
        f"``` a`b\n{HOSTILE}",  # no fence: a backtick stands behind it
        f"~~~\na\n~~~~\n{HOSTILE}\n```",
        f"`a\n{HOSTILE} `",
        f"    ```\n{HOSTILE}",
        f"\\```\n{HOSTILE}",
        f"{'`' * 5000}\n~~~\n{'`' * 5000}\n{HOSTILE}",
    ],
)
def test_no_html_of_an_answer_comes_alive_in_what_shows_the_export(markdown):
    from markdown_it import MarkdownIt

    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(without_html(markdown))
    assert "<img" not in rendered
    assert "lt;img" in rendered


def test_no_picture_is_fetched_by_what_shows_the_export():
    from markdown_it import MarkdownIt

    text = without_html("see ![x](http://evil.example/x.png) and ![y][1]\n\n[1]: http://evil.example/y.png")
    assert "<img" not in MarkdownIt("commonmark").render(text)


@pytest.mark.parametrize("text", ["a < b and c <= d", "```\n<b>\n```", "| a | b |\n|---|---|\n| 1 | 2 |", "1 <2"])
def test_what_is_no_html_stays_as_it_is(text):
    assert without_html(text) == text


def test_a_block_of_code_that_does_not_end_swallows_nothing_after_the_answer():
    text = as_markdown("t", [turn("one", "```\nleft open"), turn("two")])
    assert text.count("\n```\n") == 2
    assert text.index("left open") < text.rindex("```") < text.index("**two**")
