"""A question of the page: streamed, kept from its first moment, stopped, cut, asked again, and refused."""

import contextlib
import dataclasses
import json
import threading

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from rag.evidence import EvidenceThreshold, MatchScale
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Reading
from rag.serve.access import Access
from rag.serve.asked import calibrated_place
from rag.serve.page import page_app
from rag.serve.page_parts import VISIT_COOKIE, Model
from rag.serve.readers import Readers
from rag.serve.users import RateLimit, Users
from rag.serve.writers import Writer as Writes
from tests.fakes.pages import As, make_chat, make_parts
from tests.fakes.pipelines import Echo, Finds
from tests.fakes.writers import Writer, eventually

ASKED = "Who designed the Amber Line?"
FERRY = "Does the Amber Line meet the ferry?"  # which a `Writer` never finishes


@pytest.fixture
def parts(tmp_path):
    return make_parts(tmp_path)


def client(parts, person=""):
    return TestClient(As(page_app(parts), person), raise_server_exceptions=False)


def ask(web, question=ASKED, **more):
    """The lines of an answer."""
    reply = web.post("/page/ask", json={"question": question, **more})
    assert reply.status_code == 200, reply.text
    return [json.loads(line) for line in reply.text.splitlines()]


def test_an_answer_grows_and_is_kept(parts):
    lines = ask(client(parts))
    assert lines[0]["event"] == "turn"
    assert {line["event"] for line in lines[1:-1]} == {"view"}
    assert (lines[-1]["event"], lines[-1]["view"]["state"]) == ("done", "answered")
    assert [source["cited"] for source in lines[-1]["view"]["sources"]] == [True]
    opened = parts.history.open("", lines[0]["conversation"])
    assert (opened.title, lines[0]["title"], lines[0]["number"]) == (ASKED, ASKED, 1)
    assert opened.turns[0].turn.response.answer.text == "Amber Line"
    assert opened.turns[0].about["seconds"] >= 0


@pytest.mark.parametrize(
    ("scale", "rank"), [(MatchScale(1e6, 1e5), "likely"), (MatchScale(0, 0), "strong"), (None, None)]
)
def test_matches_are_called_by_the_scale_of_the_reranker_that_scored_them(tmp_path, scale, rank):
    lines = ask(client(make_parts(tmp_path, make_chat(match_scale=lambda: scale))))
    assert [source["rank"] for source in lines[-1]["view"]["sources"] if source["cited"]] == [rank]
    later = client(make_parts(tmp_path, make_chat(match_scale=lambda: MatchScale(-1, -1))))  # another reranker serves
    opened = later.get(f"/page/conversations/{lines[0]['conversation']}").json()
    assert [source["rank"] for source in opened["turns"][0]["sources"] if source["cited"]] == [rank]


def test_a_question_goes_into_its_conversation_and_sees_the_turns_before_it(parts):
    web = client(parts)
    first = ask(web)[0]["conversation"]
    begun = ask(web, "Where did she study?", conversation=first)[0]
    assert (begun["conversation"], begun["number"]) == (first, 2)
    # Rewritten by what was asked before.
    assert "Amber Line" in parts.history.open("", first).turns[1].turn.searched_for


def test_a_question_that_is_edited_takes_the_place_of_the_later_turns(parts):
    web = client(parts)
    first = ask(web)[0]["conversation"]
    ask(web, "Where did Clara Voss study?", conversation=first)
    assert ask(web, "What has less gluten than wheat?", conversation=first, from_turn=1)[0]["number"] == 1
    turns = parts.history.open("", first).turns
    assert [kept.turn.question for kept in turns] == ["What has less gluten than wheat?"]
    assert turns[0].turn.response.answer.text == "Rye"
    parts.history.uncut("", first)
    assert len(parts.history.open("", first).turns) == 2


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"question": " "}, "Type a question first."),
        ({}, "Type a question first."),
        ({"question": 3}, "question is a text."),
        ({"question": "a", "conversation": ["b"]}, "conversation is a text."),
        ({"question": "a", "from_turn": 0}, "from_turn is the number of a turn."),
        ({"question": "a", "from_turn": True}, "from_turn is the number of a turn."),
        ({"question": "a", "attached": "../../etc"}, "attached is no key of a conversation's files."),
        ({"question": "a", "options": []}, "options are an object."),
        ({"question": "a", "options": {"model": "gpt"}}, "This model is not offered any more; choose another."),
        ({"question": "a", "options": {"detail": "epic"}}, "detail is one of short, detailed."),
        (
            {"question": "a", "options": {"strictness": 2}},
            "strictness is low, normal, high, or a number from 0 to 1.",
        ),
        ({"question": "a", "options": {"collections": "all"}}, "collections are a list of names."),
        ({"question": "a", "options": {"expert": {"retriever": "psychic"}}}, "retriever is one of bm25."),
        ({"question": "a", "options": {"expert": {"contexts": 11}}}, "contexts is a number from 1 to 10."),
        ({"question": "a", "options": {"expert": 1}}, "expert settings are an object."),
    ],
)
def test_what_cannot_be_asked_gets_a_sentence_and_is_never_kept(parts, body, sentence):
    reply = client(parts).post("/page/ask", json=body)
    assert (reply.status_code, reply.json()) == (400, {"detail": sentence})
    assert parts.history.find("") == []


def test_what_is_no_json_gets_a_sentence_too(parts):
    reply = client(parts).post("/page/ask", content=b"{", headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith("The body is no JSON")


def test_who_asks_too_fast_is_told_when_to_ask_again(tmp_path):
    web = client(make_parts(tmp_path, access=Access(None, RateLimit(1))))
    ask(web)
    reply = web.post("/page/ask", json={"question": ASKED})
    assert reply.status_code == 429
    assert "Too many questions in a minute; ask again in" in reply.json()["detail"]
    assert 0 < int(reply.headers["retry-after"]) <= 60


def test_who_was_removed_may_not_ask(tmp_path):
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    parts = make_parts(tmp_path, access=Access(users, RateLimit(0)), is_local=False)
    assert client(parts).post("/page/ask", json={"question": ASKED}).status_code == 401
    ask(client(parts, "ada"))
    users.remove("ada")
    assert client(parts, "ada").post("/page/ask", json={"question": ASKED}).status_code == 401


def test_whoever_is_removed_in_the_middle_gets_no_more_of_the_answer(tmp_path):
    users, generator = Users(tmp_path / "users.json"), Writer()
    users.add("ada", "correct horse")
    parts = make_parts(tmp_path, make_chat(generator), access=Access(users, RateLimit(0)), is_local=False)
    threading.Thread(
        target=lambda: (eventually(lambda: generator.writing == 1), users.remove("ada")), daemon=True
    ).start()
    assert ask(client(parts, "ada"), FERRY)[-1]["view"]["state"] == "stopped"


def test_a_conversation_of_somebody_else_becomes_a_new_one(tmp_path):
    users = Users(tmp_path / "users.json")
    for name in ("ada", "bob"):
        users.add(name, "correct horse")
    parts = make_parts(tmp_path, access=Access(users, RateLimit(0)), is_local=False)
    adas = ask(client(parts, "ada"))[0]["conversation"]
    bobs = ask(client(parts, "bob"), conversation=adas)[0]["conversation"]
    assert adas != bobs
    assert len(parts.history.open("ada", adas).turns) == 1
    assert parts.history.open("bob", adas) is None


def test_without_names_conversations_belong_to_the_browser_that_opened_the_page(tmp_path):
    parts = make_parts(tmp_path, is_local=False, keeps_history=False)
    app = As(page_app(parts))
    one, other, none = (TestClient(app) for _ in range(3))
    for web in (one, other):
        assert web.get("/").cookies[VISIT_COOKIE]
    conversation = ask(one)[0]["conversation"]
    assert one.get(f"/page/conversations/{conversation}").status_code == 200
    assert other.get(f"/page/conversations/{conversation}").status_code == 404
    assert none.post("/page/ask", json={"question": ASKED}).status_code == 401
    none.cookies.set(VISIT_COOKIE, "short")
    assert none.get("/page/conversations").status_code == 401


def test_only_what_a_person_may_read_is_searched(tmp_path):
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    users.add("bob", "correct horse")
    users.grant("bob", ["secret"])
    rows = {"open": [], "secret": []}
    searched = []

    def narrow(kind, collections, attached):
        searched.append(collections)
        return chat.retrievers[kind]

    chat = make_chat(narrow=narrow)
    parts = make_parts(
        tmp_path, chat, access=Access(users, RateLimit(0)), is_local=False, readers=Readers(users, lambda: rows)
    )
    ask(client(parts, "ada"))
    ask(client(parts, "ada"), options={"collections": ["secret", "open"]})
    ask(client(parts, "bob"), options={"collections": ["secret", "gone"]})
    ask(client(parts, "bob"))  # everything: nothing is narrowed
    assert searched == [("open",), ("open",), ("secret",)]


def test_strictness_in_words_lies_halfway_from_the_calibrated_one_to_either_end(tmp_path):
    asked = []

    def threshold_at(strictness):
        return 0.5 if strictness is None else (None if strictness == 0 else strictness)

    assert calibrated_place(threshold_at) == pytest.approx(0.5, abs=1 / 64)
    assert calibrated_place(lambda strictness: EvidenceThreshold(0.25 if strictness is None else strictness, None)) == (
        pytest.approx(0.25, abs=1 / 64)
    )
    assert calibrated_place(lambda strictness: None) == 0.0
    chat = make_chat(threshold_at=threshold_at)
    web = client(make_parts(tmp_path, chat))
    of_chat = chat.threshold_at
    chat.threshold_at = lambda strictness: asked.append(strictness) or of_chat(strictness)
    for strictness in ("low", "normal", "high", 0.9, None):
        asked.clear()
        ask(web, options={"strictness": strictness})
        expected = {"low": 0.25, "normal": None, "high": 0.75}.get(strictness, strictness)
        assert asked[-1] == (expected if expected is None else pytest.approx(expected, abs=1 / 64))


def test_a_model_that_is_chosen_writes_the_answer_and_is_named_below_it(tmp_path):
    class Other(Echo):
        def _answer(self, conversation):
            return "the other one [1]"

    chat = make_chat(writers={"other": Lazy.of(Writes(Lazy.of(Other()), get_prompt("cited-v1")))})
    parts = make_parts(tmp_path, chat, models=[Model("", "Usual"), Model("other", "The other")])
    web = client(parts)
    view = ask(web, options={"model": "other"})[-1]["view"]
    assert ("the other one" in view["answer_html"], view["model"]) == (True, "The other")
    begun = ask(web)[0]
    assert parts.history.open("", begun["conversation"]).turns[0].about["model"] == "Usual"


def test_below_an_answer_stands_the_span_reader_where_no_model_was_asked(tmp_path):
    reading = Reading(Lazy.of(Finds("Voss")), 3, 2.0)
    writer = Writes(Lazy.of(Echo()), get_prompt("extract-v1"), None, reading)
    chat = make_chat(writers={"read": Lazy.of(writer)})
    web = client(make_parts(tmp_path, chat, models=[Model("", "Usual"), Model("read", "A model")]))
    view = ask(web, "who designed the amber line", options={"model": "read"})[-1]["view"]
    assert ("Voss" in view["answer_html"], view["model"]) == (True, "Span reader")
    view = ask(web, "has rye less gluten", options={"model": "read"})[-1]["view"]
    assert (view["state"], view["model"]) == ("answered", "A model")


def test_short_and_detailed_ask_for_a_phrase_and_for_sentences():
    reading = Reading(Lazy.of(Finds("Voss")), 3, 2.0)
    writes = Writes(Lazy.of(Echo()), get_prompt("extract-v1"), 1.0, reading)
    assert writes.in_detail("") is writes
    assert writes.in_detail("short") is writes
    detailed = writes.in_detail("detailed")
    assert (detailed.prompt.name, detailed.sentence_margin, detailed.reading.answer_margin) == ("cited-v2", None, None)
    assert detailed.in_detail("detailed") is detailed
    short = dataclasses.replace(writes, prompt=get_prompt("cited-v2")).in_detail("short")
    assert (short.prompt.answers_in, short.reading.reader) == ("phrase", reading.reader)
    assert short.reading.answer_margin is not None


def test_detail_reaches_the_generator(tmp_path):
    seen = []

    class Shows(Echo):
        def _answer(self, conversation):
            seen.append(conversation[0]["content"])
            return super()._answer(conversation)

    web = client(make_parts(tmp_path, make_chat(Shows())))
    for detail in ("short", "detailed"):
        ask(web, options={"detail": detail})
    assert "short phrase" in seen[0]
    assert "few plain sentences" in seen[1]


def test_an_error_of_the_generator_is_kept_as_what_became_of_the_turn(tmp_path):
    generator = Writer()
    generator.fails = True
    parts = make_parts(tmp_path, make_chat(generator))
    lines = ask(client(parts))
    assert (lines[-1]["view"]["state"], lines[-1]["view"]["error"]) == ("error", "the model is out")
    assert parts.history.open("", lines[0]["conversation"]).turns[0].turn.error == "the model is out"


@pytest.fixture
def serve():
    """Serve the page on a port of its own; returns its address."""
    servers = []

    def start(parts):
        server = uvicorn.Server(uvicorn.Config(As(page_app(parts)), port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        assert eventually(lambda: server.started)
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def asking(address, question, **more):
    """The lines of an answer as they come; its client leaves with the context."""
    body = {"question": question, **more}
    with httpx.stream("POST", f"{address}/page/ask", json=body, timeout=60, trust_env=False) as reply:
        yield (json.loads(line) for line in reply.iter_lines())


def read_until(lines, wanted):
    """The first line that this holds of."""
    for line in lines:
        if wanted(line):
            return line
    raise AssertionError("the answer ended before")


def begun_writing(line):
    return line["event"] == "view" and "ferry ferry" in line["view"]["answer_markdown"]


def test_who_stops_frees_the_generator_and_what_there_is_stays_kept(tmp_path, serve):
    generator = Writer()
    parts = make_parts(tmp_path, make_chat(generator))
    address = serve(parts)
    with asking(address, FERRY) as reply:
        begun = read_until(reply, lambda line: line["event"] == "turn")
        # From the first moment on it is there, for another page of the same person as well.
        (kept,) = parts.history.open("", begun["conversation"]).turns
        assert (kept.turn.question, kept.turn.done) == (FERRY, False)
        read_until(reply, begun_writing)
    assert eventually(lambda: generator.writing == 0)
    assert eventually(lambda: parts.history.open("", begun["conversation"]).turns[0].turn.stopped)
    (kept,) = parts.history.open("", begun["conversation"]).turns
    assert kept.turn.response.answer.text.startswith("The ferry ferry")
    with asking(address, ASKED) as reply:  # others are served
        assert read_until(reply, lambda line: line["event"] == "done")["view"]["state"] == "answered"


def test_the_next_question_of_a_conversation_ends_the_one_before_it(tmp_path, serve):
    generator = Writer(many=True)
    parts = make_parts(tmp_path, make_chat(generator))
    address = serve(parts)
    with asking(address, FERRY) as reply:
        begun = read_until(reply, lambda line: line["event"] == "turn")
        read_until(reply, begun_writing)
        with asking(address, ASKED, conversation=begun["conversation"]) as next_one:
            assert read_until(next_one, lambda line: line["event"] == "turn")["number"] == 2
            assert read_until(next_one, lambda line: line["event"] == "done")["view"]["state"] == "answered"
        assert read_until(reply, lambda line: line["event"] == "done")["view"]["state"] == "stopped"
    turns = parts.history.open("", begun["conversation"]).turns
    assert [(kept.turn.stopped, kept.turn.done) for kept in turns] == [(True, True), (False, True)]


def test_who_waits_in_line_is_told_and_who_leaves_it_frees_their_place_and_never_starts(tmp_path, serve, monkeypatch):
    monkeypatch.setattr("rag.serve.page_ask.AT_ONCE", 1)
    generator = Writer()
    parts = make_parts(tmp_path, make_chat(generator), max_waiting=1)
    address = serve(parts)
    waits = "Waiting for others to be answered…"
    with asking(address, FERRY) as first:
        read_until(first, begun_writing)
        with asking(address, "What does the ferry of the Amber Line cost?") as second:
            begun = read_until(second, lambda line: line["event"] == "turn")
            read_until(second, lambda line: line["event"] == "view" and line["view"]["status"] == waits)
            full = httpx.post(f"{address}/page/ask", json={"question": ASKED}, trust_env=False)
            assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        assert eventually(lambda: parts.history.open("", begun["conversation"]).turns[0].turn.stopped)
        with asking(address, ASKED) as third:  # while the first one is still being answered
            read_until(third, lambda line: line["event"] == "view" and line["view"]["status"] == waits)
    assert eventually(lambda: generator.writing == 0)
    assert FERRY in generator.begun
    assert not any("cost" in question for question in generator.begun)


def test_the_end_of_the_chat_ends_what_is_being_answered(tmp_path, serve):
    generator = Writer()
    chat = make_chat(generator)
    parts = make_parts(tmp_path, chat)
    with asking(serve(parts), FERRY) as reply:
        read_until(reply, begun_writing)
        chat.close("The chat is ending; ask again when it is back.")
        last = read_until(reply, lambda line: line["event"] == "done")["view"]
    assert last["error"] == "The chat is ending; ask again when it is back."
