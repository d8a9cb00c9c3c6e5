"""The chat page in a real browser, driven as a person would, over a chat that answers at once."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.serve import start
from rag.serve.page import page_app
from rag.serve.page_parts import Model
from rag.serve.readers import Readers
from rag.serve.users import Users
from rag.serve.writers import Writer as Writes
from rag.types import Passage
from tests.fakes.browsers import NEEDS_CHROMIUM, axe_source, chromium, free_port, served
from tests.fakes.pages import PASSAGES, Given, make_chat, make_parts
from tests.fakes.pipelines import ByWords, Echo

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]

ASKED = "Who designed the Amber Line?"
SUGGESTED = ["Who designed the Amber Line?", "Where did Clara Voss study?"]
HOSTILE = "<script>window.hacked = 1</script> ![x](http://evil.example/x.png) <img src=x onerror='window.hacked = 2'>"
SIZES = {"390": (390, 844), "1100": (1100, 700), "1440": (1440, 900), "2200": (2200, 1200)}


class Slow(Echo):
    """Writes a word, then waits until it may go on; questions on ferries it never finishes."""

    def __init__(self):
        super().__init__()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def stream(self, conversation):
        from rag.progress import check_waiting

        yield "**Clara** "
        while not self.may_go_on.wait(0.02) or "ferry" in conversation[-1]["content"].lower():
            check_waiting()
        yield "Voss designed it [1]. \n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```\n"


class Phrase(Echo):
    """The other model."""

    def _answer(self, conversation):
        return "the other model says so [1]"


def document_rows(*paths):
    kinds = {"pdf": "pdf", "md": "markdown"}
    return [
        {"sha256": f"{n:064x}", "kind": kinds[path.rsplit(".", 1)[1]], "title": path, "n_passages": 2, "path": path,
         "paths": ({"root": "/docs", "path": path},)}
        for n, path in enumerate(paths, 1)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def writer():
    return Slow()


@pytest.fixture(scope="module")
def parts(tmp_path_factory, writer):
    chat = make_chat(
        writer,
        passages=(*PASSAGES, Passage("evil@0", f"The Zembla festival. {HOSTILE}", f"Zembla {HOSTILE}")),
        prompt="cited-v2",
        threshold_at=lambda strictness: 0.5,
        writers={"other": Lazy.of(Writes(Lazy.of(Phrase()), get_prompt("cited-v1")))},
    )
    chat.reranker = Lazy.of(ByWords())
    folder = tmp_path_factory.mktemp("page")
    there = {"plans": document_rows("a.pdf", "b.pdf"), "notes": document_rows("c.md")}
    return make_parts(
        folder,
        chat,
        readers=Readers(None, lambda: there),
        index=folder / "island.index",
        models=[Model("", "Usual"), Model("other", "The other")],
        suggestions=Given(SUGGESTED),
    )


@pytest.fixture(scope="module")
def address(parts):
    with served(page_app(parts)) as found:
        yield found


@pytest.fixture
def open_page(browser, parts, address, writer):
    """Open the page in a browser of its own; its scripts may not fail, and it asks no other host."""
    writer.may_go_on.set()
    parts.history.erase("")
    contexts, problems, foreign = [], [], []

    def start_at(path="", size="1440", scheme="light", **options):
        width, height = SIZES[size]
        phone = {"is_mobile": True, "has_touch": True} if size == "390" else {}
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **{**phone, **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda asked: foreign.append(asked.url) if "127.0.0.1" not in asked.url[:20] else None)
        page.goto(address + path)
        page.locator("#composer textarea").wait_for()
        return page

    yield start_at
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in foreign if not url.startswith(("data:", "blob:"))] == []


def ask(page, question, number=1):
    """Type a question, press Enter, and wait for the end; returns the turn."""
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")
    return ended(page, number)


def ended(page, number=1):
    turn = page.locator(f"#turn-{number}[aria-busy=false]")
    turn.wait_for()
    return turn


def test_the_first_view_says_what_there_is_and_a_click_on_a_question_asks_it(open_page):
    page = open_page()
    assert "3 documents" in page.locator("#first .what").inner_text()
    assert "2 PDFs, 1 Markdown file" in page.locator("#first .what").inner_text()
    assert page.title() == "island – Ask your documents"
    assert page.locator("#question").evaluate("box => box === document.activeElement")
    assert page.locator("button.send[type=submit]").is_disabled()
    page.get_by_role("button", name=SUGGESTED[1]).click()
    turn = ended(page)
    assert turn.locator(".question").inner_text() == SUGGESTED[1]
    assert page.locator("#first").is_hidden()
    assert page.title() == f"{SUGGESTED[1]} – island"


def test_an_answer_is_markdown_with_its_sources_at_the_right(open_page):
    page = open_page()
    turn = ask(page, ASKED)
    assert turn.locator("strong").inner_text() == "Clara"
    assert turn.locator("li").count() >= 2
    assert turn.locator("table td").count() == 2
    assert "x = 1" in turn.locator("pre").inner_text()
    assert "Amber Line" in page.locator("#sources").inner_text()
    turn.locator("button.cite").first.click()
    assert page.locator("#sources").evaluate("side => side.contains(document.activeElement)")


def test_a_conversation_has_an_address_and_survives_reload_and_another_device(open_page, address):
    page = open_page()
    ask(page, ASKED)
    ask(page, "Where did Clara Voss study?", 2)
    key = re.search(r"\?c=([0-9a-f]+)$", page.url)[1]
    page.reload()
    assert ended(page, 2).locator(".question").inner_text() == "Where did Clara Voss study?"
    other = open_page(f"?c={key}")
    assert ended(other, 1).locator(".question").inner_text() == ASKED
    page.go_back()
    page.locator("#first").wait_for()
    page.go_forward()
    ended(page, 2)


def test_stop_keeps_what_there_is_and_the_next_question_is_answered(open_page):
    page = open_page()
    page.locator("#question").fill("Does the Amber Line meet the ferry?")
    page.locator("#question").press("Enter")
    page.locator("#turn-1 strong").wait_for()
    page.get_by_role("button", name="Stop").click()
    turn = ended(page)
    assert "Stopped." in turn.inner_text()
    assert turn.locator("strong").inner_text() == "Clara"
    page.reload()
    assert "Stopped." in ended(page).inner_text()
    assert "Voss designed it" in ask(page, ASKED, 2).inner_text()


def test_a_page_that_is_left_in_the_middle_has_kept_its_question(open_page, writer):
    page = open_page()
    writer.may_go_on.clear()
    page.locator("#question").fill(ASKED)
    page.locator("#question").press("Enter")
    page.locator("#turn-1 strong").wait_for()
    where = page.url
    page.goto("about:blank")
    writer.may_go_on.set()
    page.goto(where)
    assert ended(page).locator(".question").inner_text() == ASKED


def test_a_question_is_edited_and_the_later_answers_can_be_brought_back(open_page):
    page = open_page()
    ask(page, "Who designed the Umber Line?")
    ask(page, "Where did Clara Voss study?", 2)
    page.locator("#turn-1").hover()
    page.locator("#turn-1").get_by_role("button", name="Edit this question").click()
    box = page.get_by_role("textbox", name="The question, edited")
    assert box.input_value() == "Who designed the Umber Line?"
    box.press("Escape")
    assert page.locator("#turn-1 .question").is_visible()
    page.locator("#turn-1").get_by_role("button", name="Edit this question").click()
    box.fill(ASKED)
    box.press("Enter")
    page.locator("#turn-2").wait_for(state="detached")
    assert ended(page).locator(".question").inner_text() == ASKED
    page.get_by_role("button", name="Undo").click()
    assert ended(page, 2).locator(".question").inner_text() == "Where did Clara Voss study?"
    assert page.locator("#turn-1 .question").inner_text() == "Who designed the Umber Line?"


def test_ask_again_with_another_model(open_page):
    page = open_page()
    turn = ask(page, ASKED)
    turn.get_by_role("button", name="Ask again").click()
    page.get_by_role("menuitem", name="With The other").click()
    page.locator("#turn-1", has_text="the other model says so").wait_for()
    assert "The other" in ended(page).inner_text()


def test_settings_are_words_and_are_remembered_in_the_browser(open_page):
    page = open_page()
    page.get_by_role("button", name=re.compile("How to answer")).click()
    sheet = page.get_by_role("dialog", name="How to answer")
    assert sheet.get_by_role("radio", name="Balanced").is_checked()
    sheet.get_by_text("Only when sure").click()
    sheet.get_by_text("Short").click()
    sheet.get_by_label("Model").select_option("The other")
    sheet.get_by_role("checkbox", name="notes").uncheck()
    sheet.get_by_text("For experts").click()
    sheet.get_by_label("Passages read for the answer").fill("99")
    sheet.get_by_label("Passages read for the answer").press("Tab")
    assert sheet.get_by_label("Passages read for the answer").input_value() == "10"
    page.keyboard.press("Escape")
    assert sheet.is_hidden()
    said = page.get_by_role("button", name=re.compile("How to answer"))
    assert said.inner_text() == "The other · Short · Only when sure · in plans"
    page.reload()
    assert said.inner_text() == "The other · Short · Only when sure · in plans"
    with page.expect_request("**/page/ask") as sent:
        ask(page, ASKED)
    options = json.loads(sent.value.post_data)["options"]
    assert options == {
        "model": "other",
        "detail": "short",
        "strictness": "high",
        "collections": ["plans"],
        "own_files": True,
        "expert": {"contexts": 10},
    }


def test_light_and_dark_are_chosen_and_remembered(open_page):
    page = open_page(scheme="light")

    def background():
        return page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    light = background()
    page.get_by_role("button", name=re.compile("Appearance")).click()
    page.get_by_role("menuitem", name="Dark").click()
    dark = background()
    assert light != dark
    page.reload()
    page.locator("#question").wait_for()
    assert background() == dark
    assert open_page(scheme="dark").evaluate("getComputedStyle(document.documentElement).backgroundColor") == dark


def test_what_is_not_in_the_documents_is_said_so_and_what_to_do_next(open_page):
    page = open_page()
    turn = ask(page, "Tungsten?")
    assert "Not in these documents" in turn.inner_text()


def test_a_question_that_cannot_be_asked_is_not_lost(open_page):
    page = open_page()
    page.route(
        "**/page/ask", lambda route: route.fulfill(status=429, json={"detail": "Too many questions in a minute."})
    )
    page.locator("#question").fill(ASKED)
    page.locator("#question").press("Enter")
    page.locator("#toast", has_text="Too many questions").wait_for()
    assert page.locator("#question").input_value() == ASKED
    assert page.locator("#first").is_visible()
    page.unroute("**/page/ask")
    page.locator("#question").press("Enter")
    ended(page)


def test_a_server_that_goes_away_in_the_middle_is_said_so(open_page):
    page = open_page()
    page.route("**/page/ask", lambda route: route.abort())
    page.locator("#question").fill(ASKED)
    page.locator("#question").press("Enter")
    page.locator("#toast", has_text="cannot be reached").wait_for()


def test_a_draft_outlives_a_reload(open_page):
    page = open_page()
    page.locator("#question").fill("Half a ques")
    page.reload()
    assert page.locator("#question").input_value() == "Half a ques"
    assert page.locator("button.send[type=submit]").is_enabled()


def test_a_hostile_passage_does_nothing(open_page):
    page = open_page()
    ask(page, "When does the Zembla festival take place?")
    assert "<script>" in page.locator("#sources").inner_text()
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("size", SIZES)
def test_everything_fits_the_window_and_the_composer_stands_at_its_end(open_page, size):
    page = open_page(size=size)
    width, height = SIZES[size]
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator("#composer").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert height - 60 <= box["y"] + box["height"] <= height
        column = page.locator("#composer").bounding_box()["width"]
        assert column <= 46 * 16
        if page.locator("#turns article").count() == 0:
            ask(page, ASKED)


def test_on_a_phone_sources_and_conversations_lie_over_the_page_and_close_back_to_it(open_page):
    page = open_page(size="390")
    turn = ask(page, ASKED)
    assert page.locator("#right").is_hidden()
    turn.locator("button.cite").first.click()
    page.locator("#right").wait_for()
    assert page.locator("#main").get_attribute("inert") is not None
    page.keyboard.press("Escape")
    page.locator("#right").wait_for(state="hidden")
    assert turn.locator("button.cite").first.evaluate("button => button === document.activeElement")
    page.get_by_role("button", name="Conversations").click()
    page.locator("#left").wait_for()
    page.locator("#left").get_by_text(ASKED).click()
    page.locator("#left").wait_for(state="hidden")
    for button in page.locator("#composer button:visible, #bar button:visible").all():
        assert button.bounding_box()["height"] >= 44


def test_everything_is_reached_by_keyboard_alone(open_page):
    page = open_page()
    page.keyboard.type(ASKED)
    page.keyboard.press("Enter")
    ended(page)

    def focused():
        return page.evaluate(
            "() => { const e = document.activeElement; return e === document.body ? '' : "
            "e.getAttribute('aria-label') ?? e.textContent; }"
        )

    def go_to(name, key="Tab"):
        for _ in range(60):
            page.keyboard.press(key)
            if name in focused():
                return
        raise AssertionError(f"{name} is not reached")

    go_to("Edit this question", key="Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert focused() == "Edit this question"
    go_to("How to answer")
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert "How to answer" in focused()
    go_to("Skip to the question", key="Shift+Tab")
    page.keyboard.press("Enter")
    assert focused() == "Your question"
    go_to("Sources")
    page.keyboard.press("ArrowRight")
    assert page.locator("#documents").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_serious_fault(open_page, size, scheme):
    axe = axe_source()
    page = open_page(size=size, scheme=scheme)
    found = {}

    def look(where):
        page.wait_for_timeout(300)  # what slides has come to rest
        page.evaluate(axe)
        result = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
        for fault in result["violations"]:
            if fault["impact"] in ("serious", "critical"):
                found[where, fault["id"]] = [node["html"][:160] for node in fault["nodes"]][:3]

    look("first view")
    ask(page, ASKED)
    look("answer")
    if size in ("1100", "2200"):  # there everything else is as at 1440
        assert found == {}
        return
    page.get_by_role("button", name=re.compile("How to answer")).click()
    look("settings")
    page.keyboard.press("Escape")
    if page.locator("#right").is_hidden():
        page.get_by_role("button", name="Sources and documents").click()
    page.get_by_role("tab", name="Documents").click()
    look("documents")
    page.keyboard.press("Escape")
    if size == "390":
        page.get_by_role("button", name="Conversations").click()
        look("conversations")
    assert found == {}


def test_the_login_lets_in_whoever_knows_the_password(browser, data, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    settings, folder = data
    settings = settings.model_copy(update={"generator": settings.generator.model_copy(update={"kind": "server"})})
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    with ThreadPoolExecutor(1) as elsewhere:  # a browser test has an event loop of its own here
        opened = elsewhere.submit(
            start.serve, settings, folder / "index", port=free_port(), users=users, block=False
        ).result()
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(opened.local_url)
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("wrong horse")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("alert").get_by_text("Name or password is wrong.").wait_for()
        page.get_by_label("Password").fill("correct horse")
        page.get_by_label("Password").press("Enter")
        page.locator("#question").wait_for()
        assert page.locator("#person").get_by_text("ada").is_visible()
        page.get_by_role("link", name="Log out").click()
        page.get_by_label("Password").wait_for()
    finally:
        context.close()
        elsewhere = threading.Thread(target=opened.close)
        elsewhere.start()
        elsewhere.join(20)
