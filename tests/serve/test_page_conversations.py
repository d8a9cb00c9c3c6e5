"""The page's kept conversations over HTTP: each person's own, opened, renamed, deleted, restored, exported, judged."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rag.serve.access import Access
from rag.serve.history import History
from rag.serve.page_conversations import LISTED, file_name, make_conversations_router
from rag.serve.page_parts import PageParts
from rag.serve.turns import Options
from rag.serve.users import Users
from tests.fakes.conversations import turn


class Files:
    """The files of conversations, which remember what was dropped."""

    def __init__(self):
        self.dropped = []

    def documents(self, key):
        return [{"path": f"/secret/place/{key}/notes.md"}]

    def drop(self, key):
        self.dropped.append(key)


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    users = Users(tmp_path_factory.mktemp("users") / "users.json")
    for name in ("ada", "eve"):
        users.add(name, "correct horse")
    return users


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "conversations.sqlite")


@pytest.fixture
def files():
    return Files()


@pytest.fixture
def client_of(history, users, files):
    """Clients of one page, each of a person whom the guard has let in."""
    parts = PageParts(None, Options(), history, Access(users), attachments=files)
    app = FastAPI()
    app.include_router(make_conversations_router(parts))

    @app.middleware("http")
    async def guard(request, call_next):
        request.state.person = request.headers.get("x-person", "")
        return await call_next(request)

    def client(person):
        return TestClient(app, headers={"x-person": person})

    return client


@pytest.fixture
def ada(client_of):
    return client_of("ada")


def listed(client, **query):
    return [row["id"] for row in client.get("/page/conversations", params=query).json()]


def test_a_conversation_is_listed_and_opened_with_its_turns(ada, history):
    key = history.keep("ada", "", [turn("When does it leave?"), turn("And back?")])
    (row,) = ada.get("/page/conversations").json()
    assert (row["id"], row["title"], row["n_turns"]) == (key, "When does it leave?", 2)
    assert row["day"] == row["updated"][:10]
    response = ada.get(f"/page/conversations/{key}")
    opened = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert [(view["number"], view["question"], view["state"]) for view in opened["turns"]] == [
        (1, "When does it leave?", "answered"),
        (2, "And back?", "answered"),
    ]
    assert opened["title"] == "When does it leave?"
    assert opened["turns"][0]["conversation"] == key
    assert "at noon" in opened["turns"][0]["answer_markdown"]
    assert opened["files"] == []


def test_what_is_kept_of_a_turn_beside_it_is_shown(ada, history):
    begun = history.begin("ada", "", "when?")
    history.finish(begun, turn("when?"), {"model": "qwen", "seconds": 2.25})
    history.judge("ada", begun.conversation, 1, False, "Wrong source")
    (view,) = ada.get(f"/page/conversations/{begun.conversation}").json()["turns"]
    assert (view["model"], view["seconds"]) == ("qwen", 2.2)
    assert (view["feedback"], view["reason"]) == (-1, "Wrong source")


def test_files_are_shown_by_their_names_alone(ada, history):
    key = history.keep("ada", "", [turn("one")], "ab" * 16)
    response = ada.get(f"/page/conversations/{key}")
    assert response.json()["files"] == [{"name": "notes.md"}]
    assert "/secret/place" not in response.text


def test_nobody_else_reaches_a_conversation_by_any_route(client_of, history):
    key = history.keep("ada", "", [turn("secret")])
    eve, one = client_of("eve"), f"/page/conversations/{key}"
    assert listed(eve) == []
    tried = [
        eve.get(one),
        eve.patch(one, json={"title": "mine"}),
        eve.delete(one),
        eve.post(f"{one}/restore"),
        eve.post(f"{one}/uncut"),
        eve.get(f"{one}/export.md"),
        eve.post(f"{one}/turns/1/feedback", json={"value": -1}),
    ]
    assert [response.status_code for response in tried] == [404] * 7
    assert "secret" not in "".join(response.text for response in tried)
    eve.delete(f"{one}?forever=1")
    ada = client_of("ada").get(one).json()
    assert (ada["title"], ada["turns"][0]["feedback"]) == ("secret", None)


def test_the_answer_to_a_strangers_key_is_that_of_no_key(client_of, history):
    key = history.keep("ada", "", [turn("secret")])
    eve = client_of("eve")
    assert eve.get(f"/page/conversations/{key}").text == eve.get(f"/page/conversations/{'0' * 32}").text


@pytest.mark.parametrize("person", ["", "mallory"])
def test_who_may_not_use_the_page_is_sent_away(client_of, history, person):
    key = history.keep(person, "", [turn("one")])
    client = client_of(person)
    assert client.get("/page/conversations").status_code == 401
    assert client.get(f"/page/conversations/{key}").status_code == 401
    assert client.delete(f"/page/conversations/{key}").status_code == 401
    assert history.find(person)


def test_a_conversation_gets_another_title(ada, history):
    key = history.keep("ada", "", [turn("one")])
    assert (
        ada.patch(f"/page/conversations/{key}", json={"title": " The  timetable "}).json()["title"] == "The timetable"
    )
    for wrong in ({"title": "  "}, {"title": 7}, {}, {"title": ["a"]}):
        refused = ada.patch(f"/page/conversations/{key}", json=wrong)
        assert (refused.status_code, refused.json()["detail"]) == (400, "A title has at least one character.")
    assert ada.patch(f"/page/conversations/{key}", content=b"[1").status_code == 400
    assert [row["title"] for row in ada.get("/page/conversations").json()] == ["The timetable"]


def test_a_deletion_is_undone(ada, history, files):
    key = history.keep("ada", "", [turn("one"), turn("two")], "ab" * 16)
    other = history.keep("ada", "", [turn("other")])
    history.judge("ada", key, 1, True)
    assert ada.delete(f"/page/conversations/{key}").json() == {"id": key, "days": 7}
    assert listed(ada) == [other]
    assert listed(ada, deleted=1) == [key]
    assert ada.get(f"/page/conversations/{key}").status_code == 404
    assert ada.get(f"/page/conversations/{key}/export.md").status_code == 404
    assert ada.post(f"/page/conversations/{key}/restore").json()["n_turns"] == 2
    assert set(listed(ada)) == {key, other}
    assert listed(ada, deleted=1) == []
    assert [view["feedback"] for view in ada.get(f"/page/conversations/{key}").json()["turns"]] == [1, None]
    assert files.dropped == []


def test_a_deletion_for_good_takes_the_files_along(ada, history, files):
    key = history.keep("ada", "", [turn("one")], "ab" * 16)
    assert ada.delete(f"/page/conversations/{key}?forever=1").json() == {"id": key, "days": 0}
    assert listed(ada, deleted=1) == listed(ada) == []
    assert ada.post(f"/page/conversations/{key}/restore").status_code == 404
    assert files.dropped == ["ab" * 16]


def test_the_list_is_searched_and_read_in_parts(ada, history):
    keys = [history.keep("ada", "", [turn(f"question {n}", f"answer{n}")]) for n in range(LISTED + 3)]
    newest = keys[::-1]
    assert listed(ada) == newest[:LISTED]
    assert listed(ada, offset=LISTED) == newest[LISTED:]
    assert listed(ada, limit=2, offset=1) == newest[1:3]
    assert listed(ada, query="ANSWER42 question", limit=99999) == [keys[42]]
    assert listed(ada, query="nowhere") == []
    assert listed(ada, limit="x", offset="-1") == newest[:LISTED]


def test_turns_that_an_edited_question_took_the_place_of_come_back(ada, history):
    key = history.keep("ada", "", [turn("one"), turn("two"), turn("three")])
    history.finish(history.begin("ada", key, "two, edited", from_turn=2), turn("two, edited"))
    opened = ada.get(f"/page/conversations/{key}").json()
    assert [view["question"] for view in opened["turns"]] == ["one", "two, edited"]
    assert opened["n_cut"] == 2
    assert ada.post(f"/page/conversations/{key}/uncut").json() == {"n": 2}
    opened = ada.get(f"/page/conversations/{key}").json()
    assert [view["question"] for view in opened["turns"]] == ["one", "two", "three"]
    assert ada.post(f"/page/conversations/{key}/uncut").json() == {"n": 0}


def test_a_conversation_is_exported_under_its_title(ada, history):
    key = history.keep("ada", "", [turn("Wann fährt die Fähre?")])
    response = ada.get(f"/page/conversations/{key}/export.md")
    assert response.text.startswith("# Wann fährt die Fähre?\n")
    assert "at noon [1]" in response.text
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    expected = "attachment; filename=\"conversation.md\"; filename*=UTF-8''Wann-f%C3%A4hrt-die-F%C3%A4hre.md"
    assert response.headers["content-disposition"] == expected


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("../../etc/passwd", "etc-passwd.md"),
        ('a"b\r\nSet-Cookie: x', "a-b-Set-Cookie-x.md"),
        ("?!", "conversation.md"),
        ("\u202egnp.exe", "gnp-exe.md"),
        ("x" * 80, "x" * 60 + ".md"),
        ("हिन्दी में", "हिन्दी-में.md"),
    ],
)
def test_a_file_name_is_harmless(title, name):
    assert file_name(title) == name


def test_a_judgement_is_kept_with_its_reason_and_comment_and_taken_back(ada, history):
    key = history.keep("ada", "", [turn("one")])
    one = f"/page/conversations/{key}/turns/1/feedback"
    assert ada.post(one, json={"value": 1}).json() == {"feedback": 1}
    assert history.judgements("ada", key) == ["Like"]
    bad = {"value": -1, "reason": "Wrong source", "comment": " it is on page 3 "}
    assert ada.post(one, json=bad).json() == {"feedback": -1}
    assert history.judgements("ada", key) == ["Wrong source: it is on page 3"]
    assert ada.post(one, json={"value": None}).json() == {"feedback": None}
    assert history.judgements("ada", key) == [None]
    for wrong in (
        {"value": 2},
        {"value": True},
        {"value": "1"},
        {"value": 1, "reason": 7},
        {"value": 1, "comment": []},
    ):
        assert ada.post(one, json=wrong).status_code == 400
    for nowhere in ("2", "0", "x", "99999999999"):
        assert ada.post(one.replace("/turns/1/", f"/turns/{nowhere}/"), json={"value": 1}).status_code == 404
    assert history.judgements("ada", key) == [None]


def test_a_store_that_cannot_be_read_now_is_told_in_a_sentence(ada, history):
    history.path.write_bytes(b"no database at all " * 300)
    refused = ada.get("/page/conversations")
    assert refused.status_code == 503
    assert "move it away" in refused.json()["detail"]
