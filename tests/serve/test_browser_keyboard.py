"""A whole journey over the page by keyboard alone, in a real browser: no pointer, and the focus is never lost."""

import dataclasses

import pytest
from starlette.routing import Mount

from rag.build.indexes import ingest_documents
from rag.index import ingest
from rag.serve.page import page_app
from tests.fakes.browsers import NEEDS_CHROMIUM, chromium, served
from tests.fakes.documents import SETTINGS
from tests.fakes.pages import Given
from tests.fakes.shared_documents import ParsesHere, serve_documents

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]

SUGGESTED = ["When does the harbour open?", "Who paints the lighthouse?"]


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture
def page(tmp_path, encoder, monkeypatch, browser):
    """The page over two documents, with questions to begin with, and a file to add."""
    monkeypatch.setattr(ingest, "ParserProcess", ParsesHere)
    folder, index = tmp_path / "manuals", tmp_path / "island.index"
    folder.mkdir()
    (folder / "harbour.txt").write_text("The harbour opens at six. The office opens at nine.", "utf-8")
    (folder / "light.txt").write_text("The lighthouse is painted by Ada Berg. It is white.", "utf-8")
    ingest_documents(SETTINGS, [folder], index)
    made = serve_documents(index, tmp_path, encoder)
    parts = dataclasses.replace(made.parts, suggestions=Given(SUGGESTED))
    made.app.router.routes = [
        route for route in made.app.router.routes if not getattr(route, "path", "").startswith("/page/")
    ]
    made.app.router.routes.append(Mount("/", page_app(parts)))
    new_file = tmp_path / "dogs.txt"
    new_file.write_text("Dogs travel free on the ferry.", "utf-8")
    with served(made.app) as address:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
        opened = context.new_page()
        opened.set_default_timeout(20_000)
        opened.problems = []
        opened.on("pageerror", lambda error: opened.problems.append(str(error)))
        opened.on("filechooser", lambda chooser: chooser.set_files(str(new_file)))
        opened.goto(address)
        opened.get_by_role("button", name=SUGGESTED[1]).wait_for()
        yield opened
        assert opened.problems == []
        context.close()
    made.attachments.close()


def focused(page):
    """The name of what has the focus; "" where nothing has it."""
    return page.evaluate(
        """() => {
          const e = document.activeElement;
          if (e === document.body || !e.getClientRects().length) return "";
          const named = (e.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id));
          return e.getAttribute("aria-label") ?? (named[0]?.textContent || e.textContent.trim() || e.tagName);
        }"""
    )


def is_focused(page, name):
    """Wait until the focus is there, as after something that takes a moment."""
    for _ in range(200):
        if name in focused(page):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"the focus is at {focused(page)!r}, and not at {name!r}")


def press(page, *keys):
    """Press keys; the focus is somewhere after each."""
    for key in keys:
        page.keyboard.press(key)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert focused(page) != "", f"the focus is lost after {key}"


def go_to(page, name, key="Tab", most=40):
    """Press a key until the focus is at something of that name."""
    for _ in range(most):
        press(page, key)
        if name in focused(page):
            return
    raise AssertionError(f"{name} is not reached by {key}")


def answered(page, question):
    turn = page.locator("#turn-1[aria-busy=false]").filter(has=page.locator(".question", has_text=question))
    turn.filter(has=page.locator(".answer button.cite")).wait_for()
    return turn


def test_a_person_asks_reads_adds_removes_and_undoes_by_keyboard_alone(page):
    from playwright.sync_api import expect

    # The first view: a question is chosen.
    assert focused(page) == "Your question"
    go_to(page, SUGGESTED[0], "Shift+Tab")
    press(page, "Enter")
    answered(page, SUGGESTED[0])
    is_focused(page, "Your question")

    # A citation shows its sentence, opens its source, and is where Escape leads back to.
    go_to(page, "Source 1", "Shift+Tab")
    expect(page.locator("#preview")).to_contain_text("harbour opens at six")
    press(page, "Enter")
    is_focused(page, "harbour")
    assert page.locator("#sources").evaluate("side => side.contains(document.activeElement)")
    press(page, "Tab", "Escape")
    is_focused(page, "Source 1")

    # The question is edited, and asked again.
    go_to(page, "Edit this question", "Shift+Tab")
    press(page, "Enter")
    assert focused(page) == "The question, edited"
    press(page, "Control+a")
    page.keyboard.type(SUGGESTED[1])
    press(page, "Enter")
    answered(page, SUGGESTED[1])
    is_focused(page, "Edit this question")
    go_to(page, "Good answer")
    press(page, "Enter")
    expect(page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    go_to(page, "Ask again")
    press(page, "Enter")
    answered(page, SUGGESTED[1])
    is_focused(page, "Edit this question")

    # How strict the answers are.
    go_to(page, "How to answer")
    press(page, "Enter")
    expect(page.get_by_role("dialog", name="How to answer")).to_be_visible()
    for _ in range(10):
        if page.evaluate("document.activeElement.name") == "option-strictness":
            break
        press(page, "Tab")
    press(page, "ArrowRight", "Escape")
    expect(page.get_by_role("dialog", name="How to answer")).to_be_hidden()
    assert "Only when sure" in focused(page)

    # A document is added, found, and removed.
    go_to(page, "Add documents", "Shift+Tab")
    press(page, "Enter")
    assert page.locator("#documents").evaluate("side => side.contains(document.activeElement)")
    go_to(page, "Files")
    press(page, "Enter")
    expect(page.get_by_role("region", name="Being added").locator("li[data-state=ready]")).to_have_count(1)
    is_focused(page, "Files")
    go_to(page, "Take dogs.txt from the list")
    press(page, "Enter")
    is_focused(page, "Search documents")
    page.keyboard.type("dogs")
    expect(page.get_by_text("1 found")).to_be_visible()
    go_to(page, "dogs.txt")
    go_to(page, "More for dogs.txt")
    press(page, "Enter", "ArrowDown", "Enter")
    assert focused(page) == "Cancel"
    press(page, "Enter")
    is_focused(page, "More for dogs.txt")
    press(page, "Enter", "ArrowDown", "Enter", "Tab", "Enter")
    expect(page.get_by_text("Nothing found.")).to_be_visible()
    is_focused(page, "Search documents")
    press(page, "Escape")
    expect(page.get_by_text("2 documents", exact=True)).to_be_visible()

    # The conversation is deleted, and comes back.
    press(page, "Escape")
    is_focused(page, "Add documents")
    go_to(page, SUGGESTED[1], "Shift+Tab")
    while not page.evaluate("document.activeElement.classList.contains('conv-open')"):
        go_to(page, SUGGESTED[1], "Shift+Tab")
    press(page, "Delete")
    page.locator("#turn-1").wait_for(state="detached")
    is_focused(page, "Your question")
    go_to(page, "Undo")
    press(page, "Enter")
    answered(page, SUGGESTED[1])
    is_focused(page, "Your question")
    expect(page.locator(".conv-open")).to_have_text(SUGGESTED[1])
