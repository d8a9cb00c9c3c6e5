"""The documents in a real browser, over a small index without real models: add, find, open and remove."""

import re

import pytest
from starlette.routing import Mount

from rag.build.indexes import ingest_documents
from rag.config import load_settings
from rag.index import ingest
from rag.serve.page import page_app
from tests.fakes.browsers import NEEDS_CHROMIUM, axe_source, chromium, served
from tests.fakes.documents import SETTINGS
from tests.fakes.shared_documents import ParsesHere, serve_documents
from tests.fakes.web_site import WebSite
from tests.fakes.web_site import page as web_page

ON_THIS_MACHINE = load_settings(
    None, ["documents.chunk_tokens=40", "web.allow_private=true", "web.seconds_between_requests=0"]
)

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture
def settings():
    return SETTINGS


@pytest.fixture
def site():
    made = WebSite()
    yield made
    made.close()


@pytest.fixture
def page(tmp_path, encoder, monkeypatch, browser, settings):
    """The page over two documents, one of which cannot be read; `page.pick` chooses files of the disk."""
    monkeypatch.setattr(ingest, "ParserProcess", ParsesHere)
    folder, index = tmp_path / "manuals", tmp_path / "island.index"
    folder.mkdir()
    (folder / "harbour.txt").write_text("The harbour opens at six.", "utf-8")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    ingest_documents(settings, [folder], index)
    made = serve_documents(index, tmp_path, encoder, settings=settings)
    made.app.router.routes.append(Mount("/", page_app(made.parts)))
    # The page's own routes for documents: the one intake is that of the page.
    made.app.router.routes = [
        route for route in made.app.router.routes if not getattr(route, "path", "").startswith("/page/")
    ]
    for name, text in {"boats/light.txt": "The lighthouse blinks.", "boats/old/pilot.txt": "The pilot is red."}.items():
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_text(text, "utf-8")
    (tmp_path / "up" / "boats" / "picture.png").write_bytes(b"x")
    (tmp_path / "up" / ".hidden.txt").write_text("Nobody reads this.", "utf-8")
    (tmp_path / "empty.txt").write_text("", "utf-8")
    (tmp_path / "dogs.txt").write_text("Dogs travel free.", "utf-8")
    with served(made.app) as address:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        opened = context.new_page()
        opened.set_default_timeout(20_000)
        opened.problems = []
        opened.on("pageerror", lambda error: opened.problems.append(str(error)))
        opened.on("console", lambda told: told.type == "error" and opened.problems.append(told.text))
        opened.goto(address)
        opened.get_by_role("tab", name="Documents").click()
        opened.root = tmp_path
        yield opened
        context.close()
    made.attachments.close()


def pick(page, label, *names):
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name=label, exact=True).click()
    chosen.value.set_files([str(page.root / name) for name in names] if len(names) > 1 else str(page.root / names[0]))


def listed(page):
    rows = page.get_by_role("region", name="All documents").locator("li")
    return [row.locator(".doc-open, .doc-name").inner_text() for row in rows.all()]


def adding(page):
    return page.get_by_role("region", name="Being added")


def test_a_person_adds_finds_opens_and_removes_documents(page):
    from playwright.sync_api import expect

    expect(page.get_by_text("1 document, 1 left out")).to_be_visible()
    assert listed(page) == ["harbour.txt", "broken.pdf"]
    pick(page, "Files", "dogs.txt", "empty.txt")
    expect(adding(page).locator("li[data-state=ready]")).to_have_count(1)
    expect(adding(page).locator("li[data-state='left out']")).to_have_text(re.compile("empty.txt.*Left out: .*empty"))
    expect(page.get_by_text("2 documents, 1 left out")).to_be_visible()
    expect(page.get_by_text("2 text files to ask about")).to_be_visible()  # the first view counts them, too

    # A folder, to a new collection: hidden files and pictures are not sent.
    page.get_by_label("Collection", exact=True).select_option(label="New collection…")
    page.get_by_label("Name of the new collection").fill("Boats")
    pick(page, "Folder", "up")
    expect(adding(page).locator("li[data-state=ready]")).to_have_count(3)
    expect(adding(page).get_by_text("Left out: of kinds that are not read (.png).")).to_be_visible()
    page.get_by_label("Collection to list").select_option(label="Boats (2)")
    expect(page.get_by_text("2 found")).to_be_visible()
    assert listed(page) == ["light.txt", "pilot.txt"]
    page.get_by_role("button", name="Clear").click()
    expect(adding(page)).to_be_hidden()
    page.get_by_label("Collection to list").select_option(label="All collections")

    page.get_by_label("Search documents").fill("pilot")
    expect(page.get_by_text("1 found")).to_be_visible()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="pilot.txt").click()
    expect(opened.value.get_by_text("The pilot is red.")).to_be_visible()
    opened.value.close()

    page.get_by_role("button", name="More for pilot.txt").click()
    page.get_by_role("menuitem", name="Remove").click()
    page.get_by_role("button", name="Cancel").click()
    assert listed(page) == ["pilot.txt"]
    page.get_by_role("button", name="More for pilot.txt").click()
    page.get_by_role("menuitem", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Nothing found.")).to_be_visible()
    assert not list((page.root / "island.index.uploads").rglob("pilot.txt"))
    page.reload()
    page.get_by_role("tab", name="Documents").click()
    expect(page.get_by_text("3 documents, 1 left out")).to_be_visible()
    assert page.problems == []


def test_a_document_opens_in_the_theme_that_was_chosen(page):
    def background(opened):
        return opened.evaluate("getComputedStyle(document.body).backgroundColor")

    def opened_document():
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="harbour.txt").click()
        opened.value.get_by_text("The harbour opens at six.").wait_for()
        return opened.value

    page.get_by_role("link", name="harbour.txt").wait_for()
    light = background(opened_document())
    for choice, is_light in (("Dark", False), ("As the system", True)):
        page.get_by_role("button", name=re.compile("Appearance")).click()
        page.get_by_role("menuitem", name=choice).click()
        assert (background(opened_document()) == light) is is_light


def test_files_are_added_to_one_conversation_and_a_page_says_why_not(page):
    from playwright.sync_api import expect

    page.get_by_label("For", exact=True).select_option(label="This conversation only")
    expect(page.get_by_role("button", name="Web page")).to_be_hidden()
    pick(page, "Files", "dogs.txt")
    own = page.get_by_role("region", name="Files of this conversation")
    expect(own.get_by_role("link", name="dogs.txt")).to_be_visible()
    assert listed(page) == ["harbour.txt", "broken.pdf"]
    page.get_by_role("button", name="New conversation").first.click()
    expect(own).to_be_hidden()

    page.get_by_label("For", exact=True).select_option(label="All conversations")
    page.get_by_role("button", name="Web page").click()
    page.get_by_label("Address of a web page").fill("127.0.0.1:9/x")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(adding(page).get_by_text(re.compile("Left out: .*private network"))).to_be_visible()
    assert page.problems == []


@pytest.mark.parametrize("settings", [ON_THIS_MACHINE])
def test_a_web_page_is_added_by_its_address_and_is_found(page, site):
    from playwright.sync_api import expect

    site.pages["/timetable"] = web_page(
        "<main><h1>Timetable</h1><p>The ferry leaves at noon, also on Sundays.</p></main>"
    )
    page.get_by_role("button", name="Web page").click()
    page.get_by_label("Address of a web page").fill(f"{site.address}/timetable")
    page.get_by_label("Address of a web page").press("Enter")
    expect(adding(page).locator("li[data-state=ready]")).to_have_count(1)
    expect(page.get_by_text("2 documents, 1 left out")).to_be_visible()
    assert site.paths == ["/timetable"]
    page.get_by_label("Search documents").fill("timetable")
    expect(page.get_by_text("1 found")).to_be_visible()
    page.locator(".doc-list .doc-more").last.click()
    expect(page.get_by_role("menuitem", name="Open on the web")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#question").fill("When does the ferry leave?")
    page.locator("#question").press("Enter")
    expect(page.locator("#sources")).to_contain_text("also on Sundays")
    assert page.problems == []


def test_dropped_files_are_added(page):
    from playwright.sync_api import expect

    page.get_by_text("Or drop files and folders").wait_for()
    drop = """() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["Whales sing at night."], "whales.txt"));
      const drag = {dataTransfer: transfer, bubbles: true, cancelable: true};
      document.getElementById("turns").dispatchEvent(new DragEvent("dragenter", drag));
      document.body.dispatchEvent(new DragEvent("drop", drag));
    }"""
    page.evaluate(drop)
    expect(adding(page).locator("li[data-state=ready]")).to_have_text(re.compile("whales.txt"))
    expect(page.locator("body")).not_to_have_class(re.compile("dropping"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_page(page, width, scheme):
    from playwright.sync_api import expect

    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    if width < 1024:
        page.get_by_role("button", name="Add documents").first.click()
    pick(page, "Files", "empty.txt")
    expect(adding(page).locator("li[data-state='left out']")).to_have_count(1)
    page.get_by_role("button", name="Web page").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.getElementById('documents'))")
    page.evaluate(axe_source())
    found = page.evaluate("axe.run(document.getElementById('right'))")["violations"]
    serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
    assert serious == []


def test_the_documents_are_reached_by_keyboard(page):
    from playwright.sync_api import expect

    page.get_by_text("1 document, 1 left out").wait_for()
    page.get_by_label("Search documents").focus()
    page.keyboard.press("Tab")  # to the first document: there is one collection
    expect(page.get_by_role("link", name="harbour.txt")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Open")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert listed(page) == ["harbour.txt", "broken.pdf"]
