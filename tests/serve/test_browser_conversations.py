"""The kept conversations in a real browser, over a chat without models: address, list, menu, keyboard, phone."""

import datetime
import json
import re
import shutil
import socket
import sqlite3
import threading
import time

import pytest
import uvicorn
from fastapi import FastAPI

from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.access import Access
from rag.serve.chat import Chat
from rag.serve.history import History
from rag.serve.page_ask import make_ask_router
from rag.serve.page_conversations import make_conversations_router
from rag.serve.page_documents import make_documents_router
from rag.serve.page_parts import PageParts
from rag.serve.page_shell import make_shell_router
from rag.serve.turns import Options
from rag.serve.users import Users
from rag.types import Passage
from tests.fakes.conversations import turn
from tests.fakes.pipelines import Echo

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; on Debian: apt-get install chromium"),
]

WORDS = ("The", "ferry", "leaves", "at", "noon", "[1]", "from", "the", "north", "pier.")
FERRY = Passage("ferry@0", "The ferry leaves at noon from the north pier.", "Ferry")


class Slow(Echo):
    """Writes one word after another, and waits behind the third until it may go on."""

    def __init__(self):
        super().__init__()
        self.may_go_on = threading.Event()

    def stream(self, conversation):
        for n, word in enumerate(WORDS):
            if n == 3:
                self.may_go_on.wait(300)
            yield f"{word} "


@pytest.fixture(scope="module")
def writer():
    return Slow()


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    return History(tmp_path_factory.mktemp("history") / "conversations.sqlite")


@pytest.fixture(scope="module")
def address(tmp_path_factory, writer, history):
    """The page, whose guard takes everybody for whom they say they are."""
    users = Users(tmp_path_factory.mktemp("users") / "users.json")
    for name in ("ada", "eve"):
        users.add(name, "correct horse")
    chat = Chat(
        {"bm25": Lazy.of(BM25Retriever(Corpus([FERRY])))},
        Lazy.of(KeepOrder()),
        Lazy.of(writer),
        get_prompt("cited-v1"),
        lambda strictness: None,
    )
    parts = PageParts(chat, Options("bm25"), history, Access(users))
    app = FastAPI()
    for make in (make_shell_router, make_ask_router, make_conversations_router, make_documents_router):
        app.include_router(make(parts))

    async def guard(scope, receive, send):
        if scope["type"] == "http":
            scope["state"] = {"person": dict(scope["headers"]).get(b"x-person", b"").decode()}
        await app(scope, receive, send)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(guard, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    writer.may_go_on.set()
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, address, history, writer):
    """Open the page on a device of its own; the store is empty at first, and answers do not wait."""
    for person in ("ada", "eve"):
        history.erase(person)
    writer.may_go_on.set()
    contexts = []

    def open_at(path="", person="ada", width=1440, height=900, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, extra_http_headers={"x-person": person}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(address + path)
        page.locator(".conv-words").wait_for(state="attached")
        return page

    yield open_at
    for context in contexts:
        for page in context.pages:
            assert page.problems == []
        context.close()


def ask(page, question):
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")
    page.wait_for_url(re.compile(r"\?c=[0-9a-f]{32}$"))


def answered(page, n=1):
    page.wait_for_function("n => document.querySelectorAll('.turn[aria-busy=false]').length === n", arg=n)
    return page.locator(".turn").last.inner_text()


def titles(page):
    return page.locator(".conv-open").all_inner_texts()


def wait_for_titles(page, *expected):
    page.wait_for_function(
        "wanted => JSON.stringify([...document.querySelectorAll('.conv-open')].map(a => a.textContent)) === wanted",
        arg=json.dumps(expected, ensure_ascii=False, separators=(",", ":")),
    )


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")


def test_a_conversation_has_an_address_that_outlives_the_page_and_the_device(open_page):
    page = open_page()
    ask(page, "When does the ferry leave?")
    assert "at noon" in answered(page)
    where = page.url.rsplit("/", 1)[1]
    wait_for_titles(page, "When does the ferry leave?")
    assert page.locator(".conv-open[aria-current=page]").inner_text() == "When does the ferry leave?"
    page.reload()
    assert "at noon" in answered(page)
    other = open_page(where)
    assert "at noon" in answered(other)
    assert "When does the ferry leave?" in other.locator("#sources").inner_text()  # those of its last answer
    assert other.locator("#sources article").count() > 0
    assert "When does the ferry leave?" in other.title()
    ask(other, "From where does the ferry leave?")
    answered(other, 2)
    page.reload()
    answered(page, 2)
    page.go_back()
    page.wait_for_function("() => document.querySelectorAll('.turn').length === 0")


def test_the_address_gives_nothing_to_another_person(open_page, history):
    key = history.keep("ada", "", [turn("A secret?")])
    page = open_page(f"?c={key}", person="eve")
    page.locator(".toast").wait_for()
    assert "not here" in page.locator(".toast").inner_text()
    assert page.locator(".turn").count() == 0
    assert "secret" not in page.content()
    assert page.url.endswith("/")


def test_a_page_left_in_the_middle_leaves_a_stopped_turn_with_what_there_is(open_page, writer):
    writer.may_go_on.clear()
    page = open_page()
    ask(page, "When does the ferry leave?")
    page.wait_for_function("() => document.querySelector('.turn').innerText.includes('The ferry leaves')")
    where = page.url.rsplit("/", 1)[1]
    watching = open_page(where)
    watching.locator(".turn[aria-busy=true]").wait_for()
    page.close()
    time.sleep(1)  # the server hears of it before the next word is written
    writer.may_go_on.set()
    answered(watching)  # it looks again by itself
    later = open_page(where)
    text = answered(later)
    assert "The ferry leaves" in text
    assert "Stopped" in text
    assert "north pier" not in later.locator(".turn .reply").inner_text().split("\n")[0]


def test_a_row_is_renamed_deleted_and_restored_by_keyboard_alone(open_page, history):
    history.keep("ada", "", [turn("first")])
    history.keep("ada", "", [turn("second")])
    page = open_page()
    wait_for_titles(page, "second", "first")
    page.locator(".conv-words").focus()
    page.keyboard.press("ArrowDown")
    assert focused(page) == "second"
    page.keyboard.press("ArrowDown")
    assert focused(page) == "first"
    page.keyboard.press("Tab")
    assert focused(page) == "More for first"
    page.keyboard.press("Enter")
    assert focused(page) == "Rename"
    page.keyboard.press("Escape")
    assert focused(page) == "More for first"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert focused(page) == "New title"
    page.keyboard.type("The timetable")
    page.keyboard.press("Enter")
    wait_for_titles(page, "second", "The timetable")
    assert focused(page) == "The timetable"
    page.keyboard.press("F2")
    page.keyboard.type("thrown away")
    page.keyboard.press("Escape")
    wait_for_titles(page, "second", "The timetable")
    assert focused(page) == "The timetable"
    page.keyboard.press("Delete")
    wait_for_titles(page, "second")
    assert focused(page) == "second"
    page.get_by_role("button", name="Undo").focus()
    page.keyboard.press("Enter")
    wait_for_titles(page, "second", "The timetable")
    assert focused(page) == "The timetable"
    page.keyboard.press("Enter")
    page.locator(".turn").wait_for()
    assert "The timetable" in page.title()


def test_the_list_is_one_stop_of_the_tab_key(open_page, history):
    for n in range(5):
        history.keep("ada", "", [turn(f"question {n}")])
    page = open_page()
    page.locator(".conv-open").nth(4).wait_for()
    assert page.locator('.conv-open[tabindex="0"]').count() == 1
    assert page.locator('.conv-more[tabindex="0"]').count() == 1
    page.locator(".conv-open").first.focus()
    for key, expected in (("End", "question 0"), ("Home", "question 4"), ("ArrowDown", "question 3")):
        page.keyboard.press(key)
        assert focused(page) == expected
    page.keyboard.press("ArrowRight")
    assert focused(page) == "Rename"


def test_the_open_conversation_is_deleted_and_comes_back_as_it_was(open_page, history):
    key = history.keep("ada", "", [turn("first"), turn("second")])
    page = open_page(f"?c={key}")
    answered(page, 2)
    page.locator(".conv-list li").hover()
    page.locator(".conv-more").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.wait_for_function("() => document.querySelectorAll('.turn').length === 0")
    assert page.url.endswith("/")
    page.get_by_text("No conversations yet.").wait_for()
    page.get_by_role("button", name="Undo").click()
    answered(page, 2)
    assert page.url.endswith(f"?c={key}")
    wait_for_titles(page, "first")


def test_what_was_deleted_lately_is_restored_or_deleted_for_good(open_page, history):
    first, second = (history.keep("ada", "", [turn(title)]) for title in ("first", "second"))
    for key in (first, second):
        history.discard("ada", key)
    page = open_page()
    page.locator(".conv-deleted summary").click()
    page.get_by_role("button", name="Restore first").click()
    wait_for_titles(page, "first")
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.get_by_role("button", name="Delete second for good").click()
    assert "cannot be undone" in asked[0]
    assert [kept.id for kept in history.find("ada", deleted=True)] == [second]
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete second for good").click()
    page.wait_for_function("() => document.querySelector('.conv-deleted').innerText.includes('None.')")
    assert history.find("ada", deleted=True) == []


def test_the_list_is_searched_as_one_types(open_page, history):
    history.keep("ada", "", [turn("Timetable?", "at seven")])
    history.keep("ada", "", [turn("Dogs?")])
    page = open_page()
    wait_for_titles(page, "Dogs?", "Timetable?")
    page.locator(".conv-words").fill("SEVEN")
    wait_for_titles(page, "Timetable?")
    page.locator(".conv-words").fill("nowhere")
    wait_for_titles(page)
    page.get_by_text("Nothing found for “nowhere”.").wait_for()
    page.locator(".conv-words").press("Escape")
    wait_for_titles(page, "Dogs?", "Timetable?")


def test_rows_stand_under_their_day_by_the_readers_own_clock(open_page):
    page = open_page(timezone_id="Pacific/Auckland")  # UTC+13 in January
    updated = {
        "a": "2026-01-14T12:00:00+00:00",  # the 15th there
        "b": "2026-01-14T10:00:00+00:00",  # 23:00 on the 14th there
        "c": "2026-01-13T11:30:00+00:00",  # the 14th, too
        "d": "2026-01-07T20:00:00+00:00",  # the 8th: seven days ago
        "e": "2026-01-07T10:00:00.123+00:00",  # the 7th: eight days ago
        "f": "2025-12-20T10:00:00+00:00",
        "g": "2025-12-01T10:00:00+00:00",
        "h": "2026-01-15T20:00:00+00:00",  # tomorrow: a server whose clock is ahead
    }
    script = page.locator('script[type="module"]').get_attribute("src").replace("main.js", "conversations.js")
    found = page.evaluate(
        """async ([script, rows]) => {
            const { byDay } = await import(new URL(script, location.href));
            const groups = byDay(rows, new Date("2026-01-15T01:00:00+13:00"));
            return groups.map(([name, members]) => [name, members.map(row => row.id).join("")]);
        }""",
        [script, [{"id": key, "updated": at} for key, at in updated.items()]],
    )
    assert found == [
        ["Today", "ah"],
        ["Yesterday", "bc"],
        ["Previous 7 days", "d"],
        ["January", "e"],
        ["December 2025", "fg"],
    ]


def test_more_than_a_page_of_conversations_are_shown_on_demand(open_page, history):
    with sqlite3.connect(history.path) as database:
        for n in range(130):
            at = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=n)).isoformat()
            database.execute(
                "INSERT INTO conversations (id, person, title, created, updated) VALUES (?, 'ada', ?, ?, ?)",
                (f"{n:032x}", f"title {n}", at, at),
            )
    database.close()
    page = open_page()
    page.locator(".conv-open").nth(99).wait_for()
    assert page.locator(".conv-open").count() == 100
    page.get_by_role("button", name="Show more").click()
    page.locator(".conv-open").nth(129).wait_for()
    assert titles(page) == [f"title {n}" for n in range(130)]
    assert page.get_by_role("button", name="Show more").count() == 0


def test_a_conversation_is_exported_as_a_file(open_page, history, tmp_path):
    history.keep("ada", "", [turn("When does it leave?")])
    page = open_page()
    page.locator(".conv-list li").hover()
    page.locator(".conv-more").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export").click()
    assert download.value.suggested_filename == "When-does-it-leave.md"
    download.value.save_as(tmp_path / "saved.md")
    assert "at noon [1]" in (tmp_path / "saved.md").read_text("utf-8")


def test_an_edited_question_is_undone(open_page, history):
    key = history.keep("ada", "", [turn("first"), turn("second"), turn("third")])
    page = open_page(f"?c={key}")
    answered(page, 3)
    page.get_by_role("button", name="Edit this question").first.click()
    page.get_by_label("The question, edited").fill("Ferry, edited")
    page.get_by_label("The question, edited").press("Enter")
    answered(page, 1)
    wait_for_titles(page, "Ferry, edited")
    page.get_by_role("button", name="Undo").click()
    answered(page, 3)
    wait_for_titles(page, "first")


def test_the_list_is_a_drawer_on_a_phone_with_room_for_fingers(open_page, history):
    history.keep("ada", "", [turn("first")])
    page = open_page(width=390, height=844, has_touch=True)
    assert not page.locator(".conv-open").is_visible()
    page.get_by_role("button", name="Conversations", exact=True).tap()
    page.locator(".conv-open").wait_for(state="visible")
    page.wait_for_function("() => document.getElementById('left').getBoundingClientRect().left === 0")
    for name in (".conv-new", ".conv-words", ".conv-open", ".conv-more", ".conv-deleted summary"):
        assert page.locator(name).bounding_box()["height"] >= 44, name
    page.locator(".conv-more").tap()
    assert page.get_by_role("menuitem").count() == 3
    assert all(page.get_by_role("menuitem").nth(n).bounding_box()["height"] >= 44 for n in range(3))
    page.get_by_role("menuitem", name="Rename").tap()
    page.keyboard.type("On the phone")
    page.keyboard.press("Enter")
    wait_for_titles(page, "On the phone")
    page.locator(".conv-open").tap()
    page.locator(".turn").wait_for()
    page.wait_for_function("() => document.getElementById('left').hasAttribute('inert')")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
