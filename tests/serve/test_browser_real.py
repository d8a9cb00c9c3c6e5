"""The chat in a real browser, and by its other doors, over the real models."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag.build.indexes import make_index
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.serve import start
from rag.types import Passage
from tests.fakes.browsers import NEEDS_CHROMIUM, chromium, free_port

pytestmark = [pytest.mark.browser, pytest.mark.real, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A small corpus, served by the real chat on the real models; the generator answers all."""
    from tests.fakes.tiny import write_corpus

    folder = tmp_path_factory.mktemp("page")
    corpus = write_corpus(
        folder / "corpus.txt",
        [
            Passage("line@0", "The Amber Line opened in 1931. It was designed by Clara Voss.", "Amber Line"),
            Passage("voss@0", "Clara Voss studied architecture in Graz.", "Clara Voss"),
            Passage("rye@0", "Rye has less gluten than wheat.", "Rye"),
        ],
    )
    quiet_libraries()
    settings = load_settings(overrides=["abstain.rerank_threshold=-8.0", "reader.answer_margin=inf"])
    make_index(settings, corpus, folder / "index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "history_path", lambda home, index: folder / "conversations.sqlite")
        page = start.serve(settings, folder / "index", port=free_port(), block=False, mcp=True)
    yield page.local_url
    page.close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(180_000)
    page.requests_made = []
    page.on("request", lambda request: page.requests_made.append(request.url))
    page.goto(address)
    page.locator("#question").wait_for()
    yield page
    page.close()


def ask(page, question):
    """The text of the answer."""
    number = page.locator("#turns article").count() + 1
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")
    page.locator(f"#turn-{number}[aria-busy=false]").wait_for()
    return page.locator(f"#turn-{number} .reply").inner_text()


def test_the_answer_is_seen_growing(page):
    page.evaluate(
        """() => { window.seen = new Set(); new MutationObserver(() => {
        const answers = document.querySelectorAll('.answer');
        if (answers.length) window.seen.add(answers[answers.length - 1].innerText);
        }).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""
    )
    ask(page, "Who designed the Amber Line, and when did it open?")
    assert page.evaluate("window.seen.size") > 1


def test_a_question_gets_a_cited_answer_and_its_card_opens_the_passage(page, address):
    assert "Voss" in ask(page, "Who designed the Amber Line?")
    page.locator("#turn-1 button.cite").last.click()
    with page.context.expect_page() as opened:
        page.locator("#sources a[href*='source/line']").first.click()
    opened.value.locator("mark", has_text="Clara Voss").first.wait_for()
    opened.value.close()
    assert [url for url in page.requests_made if not url.startswith((address, "data:", "blob:"))] == []


def test_a_follow_up_shows_what_was_searched_for_and_takes_another_search(page):
    ask(page, "Who designed the Amber Line?")
    assert "Graz" in ask(page, "Where did she study?")
    searched = page.locator("#turn-2 .searched")
    assert "Voss" in searched.inner_text()
    searched.get_by_role("button", name="Change").click()
    searched.get_by_role("textbox").fill("Which cereal has less gluten than wheat?")
    searched.get_by_role("textbox").press("Enter")
    page.locator("#turn-2 .searched", has_text="gluten").wait_for()
    page.locator("#turn-2[aria-busy=false]").wait_for()
    page.locator("#sources", has_text="Rye").wait_for()


def test_what_is_not_in_the_documents_is_said_so(page):
    assert "Not in these documents" in ask(page, "What is the boiling point of tungsten?")


def test_the_first_view_offers_questions_about_the_documents(page):
    page.locator(".suggestion").first.wait_for()
    page.locator(".suggestion").first.click()
    page.locator("#turn-1[aria-busy=false]").wait_for()


def test_gradios_own_client_gets_one_endpoint(address):
    from gradio_client import Client

    client = Client(address, verbose=False)
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/ask"]
    reply = client.predict("Who designed the Amber Line?", api_name="/ask")
    assert "Voss" in reply["answer"]
    assert [citation["id"] for citation in reply["citations"]] == ["line@0"]


def test_assistants_find_a_tool(address):
    import asyncio

    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def ask(question):
        async with streamable_http_client(f"{address}mcp") as streams, ClientSession(*streams[:2]) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            assert list(tools) == ["ask_documents", "search", "fetch"]
            return tools["ask_documents"], await session.call_tool("ask_documents", {"question": question})

    with ThreadPoolExecutor(1) as elsewhere:  # a browser test has an event loop of its own here
        tool, result = elsewhere.submit(asyncio.run, ask("Who designed the Amber Line?")).result()
        _, empty = elsewhere.submit(asyncio.run, ask(" ")).result()
    assert tool.name == "ask_documents"
    assert list(tool.input_schema["properties"]) == ["question", "collections"]
    reply = json.loads(result.content[0].text)
    assert "Voss" in reply["answer"]
    assert reply["citations"][0]["link"] == "source/line@0#passage"
    assert "Type a question" in empty.content[0].text
    assert empty.is_error
