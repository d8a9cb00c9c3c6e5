"""The chat page in a real browser, over the real models: ask, watch it stream, click a citation, follow up."""

import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag.build.indexes import make_index
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Reading
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve import start
from rag.serve.chat import Chat
from rag.serve.history import History
from rag.serve.page import Page
from rag.serve.turns import Options
from rag.types import Passage
from tests.fakes.pipelines import Echo, Finds

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.real,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; on Debian: apt-get install chromium"),
]

HOSTILE = "<script>window.hacked = 1</script> ![x](http://evil.example/x.png) <img src=x onerror='window.hacked = 2'>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A small corpus, one passage hostile, served by the real chat on the real models; the generator answers all."""
    from tests.fakes.tiny import write_corpus

    folder = tmp_path_factory.mktemp("page")
    corpus = write_corpus(
        folder / "corpus.txt",
        [
            Passage("line@0", "The Amber Line opened in 1931. It was designed by Clara Voss.", "Amber Line"),
            Passage("voss@0", "Clara Voss studied architecture in Graz.", "Clara Voss"),
            Passage("rye@0", "Rye has less gluten than wheat.", "Rye"),
            Passage("evil@0", f"The Zembla festival takes place in October. {HOSTILE}", f"Zembla {HOSTILE}"),
        ],
    )
    quiet_libraries()
    settings = load_settings(overrides=["abstain.rerank_threshold=-8.0", "reader.answer_margin=inf"])
    make_index(settings, corpus, folder / "index")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "history_path", lambda home, index: folder / "conversations.sqlite")
        page = start.serve(settings, folder / "index", port=port, block=False, mcp=True)
    yield page.local_url
    page.close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.requests_made = []
    page.on("request", lambda request: page.requests_made.append(request.url))
    page.goto(address)
    page.locator("#question textarea").wait_for()
    yield page
    page.close()


def ask(page, question):
    before = page.locator("#chat .answer, #chat .refusal, #chat .problem").count()
    page.locator("#question textarea").fill(question)
    page.locator("#question textarea").press("Enter")
    done = "(n) => document.querySelectorAll('#chat .answer, #chat .refusal, #chat .problem').length > n"
    page.wait_for_function(done, arg=before, timeout=180_000)
    page.wait_for_function("() => !document.querySelector('#chat')?.innerText.includes('▍')", timeout=120_000)
    return page.locator("#chat .answer, #chat .refusal, #chat .problem").last.inner_text()


def test_the_answer_is_seen_growing(page):
    page.evaluate(
        """() => { window.seen = new Set(); new MutationObserver(() => {
        const answers = document.querySelectorAll('#chat .answer');
        if (answers.length) window.seen.add(answers[answers.length - 1].innerText);
        }).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""
    )
    ask(page, "Who designed the Amber Line, and when did it open?")
    assert page.evaluate("window.seen.size") > 2


def test_stop_ends_a_turn_and_the_next_question_works(page):
    page.locator("#question textarea").fill("Describe in detail how the Amber Line was designed and opened.")
    page.locator("#question textarea").press("Enter")
    page.wait_for_function("() => document.querySelector('#chat .status, #chat .answer')", timeout=60_000)
    page.locator("#stop").click()
    page.wait_for_function("() => document.querySelector('#chat').innerText.includes('Stopped.')", timeout=90_000)
    assert "Graz" in ask(page, "In which city did Clara Voss study architecture?")


def test_another_question_leaves_the_running_one_alone(browser, tmp_path, monkeypatch):
    """Over a model that waits in the middle of its answer: asked again and retried, it is neither stopped nor kept."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    go_on = threading.Event()

    class Waiting(Echo):
        def stream(self, conversation):
            yield "Amber "
            go_on.wait(60)
            yield "Line"

    corpus = Corpus([Passage("line@0", "The Amber Line opened in 1931.", "Amber Line")])
    chat = Chat(
        {"bm25": Lazy.of(BM25Retriever(corpus))},
        Lazy.of(KeepOrder()),
        Lazy.of(Waiting()),
        get_prompt("extract-v1"),
        lambda strictness: None,
    )
    history = History(tmp_path / "conversations.sqlite")
    served = Page(chat, Options("bm25"), title="Test", history=history).blocks
    served.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    page = browser.new_page()
    page.goto(served.local_url)
    box, told = page.locator("#question textarea"), page.get_by_text("One question at a time")
    box.fill("When did the Amber Line open?")
    box.press("Enter")
    page.locator("#chat .answer", has_text="▍").wait_for()
    box.fill("Which line opened in 1931?")
    box.press("Enter")
    told.first.wait_for()
    page.locator("#retry").click()
    told.nth(1).wait_for()
    assert box.input_value() == "Which line opened in 1931?"
    assert history.find("") == []
    go_on.set()
    page.locator("#chat .answer", has_text="Amber Line").wait_for()
    page.wait_for_function("() => !document.querySelector('#chat').innerText.includes('▍')")
    box.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#chat a.cite').length === 2")
    assert "Stopped" not in page.locator("#chat").inner_text()
    page.close()
    served.close()


def test_a_kept_conversation_still_marks_what_the_reader_saw(browser, tmp_path, monkeypatch):
    """Over a reader that finds one word: asked, and opened again on a page that starts anew."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    corpus = Corpus([Passage("line@0", "The <b>Amber</b> Line opened in 1931.", "Amber Line")])

    def serve():
        chat = Chat(
            {"bm25": Lazy.of(BM25Retriever(corpus))},
            Lazy.of(KeepOrder()),
            Lazy.of(Echo()),
            get_prompt("extract-v1"),
            lambda strictness: None,
            reading=Reading(Lazy.of(Finds("1931"))),
        )
        history = History(tmp_path / "conversations.sqlite")
        served = Page(chat, Options("bm25"), title="Test", history=history).blocks
        served.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
        return served

    first, again = serve(), serve()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    try:
        page.goto(first.local_url)
        ask(page, "When did the Amber Line open?")
        page.locator("#sources mark", has_text="1931").wait_for()
        page.locator("#history-list label").wait_for(state="attached")
        page.goto(again.local_url)
        page.locator(".toggle-button").first.click()
        page.locator("#history-list label").click()
        page.locator("#sources mark").wait_for()
        assert page.locator("#sources mark").all_inner_texts() == ["1931"]
        assert "The <b>Amber</b> Line opened in 1931." in page.locator("#sources pre").inner_text()
    finally:
        page.close()
        first.close()
        again.close()


def test_a_question_gets_a_cited_answer_and_the_citation_leads_to_its_card(page):
    assert "Voss" in ask(page, "Who designed the Amber Line?")
    page.locator("#chat a.cite").last.click()
    card = page.locator("#sources .card.flash")
    card.wait_for()
    assert "Amber Line" in card.inner_text()
    assert "cited" in card.get_attribute("class")
    assert page.context.pages == [page]


def test_a_card_opens_the_passage_in_its_document(page):
    ask(page, "Who designed the Amber Line?")
    with page.context.expect_page() as opened:
        page.locator("#sources .card.cited a").first.click()
    source = opened.value
    source.locator("mark").wait_for()
    assert "Clara Voss" in source.locator("mark").inner_text()
    source.close()


def test_a_file_added_to_a_conversation_is_answered_from_there_and_nowhere_else(page, tmp_path):
    (tmp_path / "ferry.md").write_text("# Ferry\n\nThe ferry to Tern Island leaves Port Ilmen at 7:40.\n", "utf-8")
    question = "From which port does the ferry to Tern Island leave?"
    page.locator("#documents .toggle-button").first.click()
    page.locator("#documents-files input[type=file]").set_input_files(tmp_path / "ferry.md")
    page.locator("#documents-list", has_text="Files of this conversation").wait_for(timeout=120_000)
    page.locator("#documents .toggle-button").first.click()
    assert "Ilmen" in ask(page, question)
    with page.context.expect_page() as opened:
        page.locator("#sources .card.cited a").first.click()
    opened.value.locator("mark", has_text="Port Ilmen").wait_for()
    opened.value.close()
    page.locator("#clear").click()
    page.wait_for_function("() => !document.querySelector('#chat .answer')")
    ask(page, question)
    assert page.locator("#sources .card", has_text="Ilmen").count() == 0


def test_a_follow_up_shows_what_was_searched_for_and_takes_another_search(page):
    ask(page, "Who designed the Amber Line?")
    assert not page.locator("#searched-for").is_visible()
    assert "Graz" in ask(page, "Where did she study?")
    assert "Voss" in page.locator("#chat .searched").last.inner_text()
    box = page.locator("#searched-for").locator("input, textarea")
    box.wait_for()
    assert "Voss" in box.input_value()
    box.fill("Which cereal has less gluten than wheat?")
    box.press("Enter")
    page.locator("#chat .searched", has_text="gluten").wait_for(timeout=120_000)
    page.locator("#sources .card", has_text="Rye").first.wait_for(timeout=120_000)


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
            (tool,) = (await session.list_tools()).tools
            return tool, await session.call_tool(tool.name, {"question": question})

    with ThreadPoolExecutor(1) as elsewhere:  # a browser test has an event loop of its own here
        tool, result = elsewhere.submit(asyncio.run, ask("Who designed the Amber Line?")).result()
        _, empty = elsewhere.submit(asyncio.run, ask(" ")).result()
    assert tool.name == "ask_documents"
    assert list(tool.input_schema["properties"]) == ["question"]
    reply = json.loads(result.content[0].text)
    assert "Voss" in reply["answer"]
    assert reply["citations"][0]["link"] == "source/line@0#passage"
    assert "Type a question" in empty.content[0].text


def test_what_is_not_in_the_documents_is_said_so(page):
    assert "Not in these documents" in ask(page, "What is the boiling point of tungsten?")
    assert page.locator("#chat .problem").count() == 0


def test_a_hostile_passage_does_nothing(page, address):
    ask(page, "When does the Zembla festival take place?")
    assert "<script>" in page.locator("#sources").inner_text()
    assert page.evaluate("window.hacked") is None
    assert [url for url in page.requests_made if "evil.example" in url] == []


def test_the_page_asks_no_other_host(page, address):
    ask(page, "Who designed the Amber Line?")
    foreign = [url for url in page.requests_made if not url.startswith((address, "data:", "blob:"))]
    assert foreign == []


def test_a_conversation_outlives_the_page(page, address):
    """Asked, judged, opened again on a fresh page, exported, deleted."""
    ask(page, "Who designed the Amber Line?")
    page.locator(".toggle-button").first.click()
    page.locator("#history-list label:has(input:checked)").wait_for()  # kept: an answer that is not cannot be judged
    page.locator("#chat button[title=Like]").last.click()
    title = "Amber Line, asked at noon"
    page.locator("#history-title").locator("input, textarea").fill(title)
    page.locator("#history-rename").click()
    page.locator("#history-list label", has_text=title).wait_for()
    page.goto(address)
    page.locator("#question textarea").wait_for()
    page.locator(".toggle-button").first.click()
    page.locator("#history-list label", has_text=title).click()
    page.locator("#chat a.cite").wait_for()
    assert "Voss" in page.locator("#chat .answer").inner_text()
    page.locator("#chat button[title=Liked]").wait_for()
    with page.expect_download() as download:
        page.locator("#history-export").click()
    with open(download.value.path(), encoding="utf-8") as stream:
        exported = stream.read()
    assert exported.startswith(f"# {title}\n")
    assert "> The Amber Line opened in 1931." in exported
    page.locator("#history-delete").click()
    page.locator("#history-list label", has_text=title).wait_for(state="detached")
    assert page.locator("#chat .answer").count() == 0


def test_retry_and_a_new_conversation(page):
    ask(page, "Who designed the Amber Line?")
    page.evaluate(
        "() => { window.mutated = 0; new MutationObserver(() => window.mutated++)"
        ".observe(document.querySelector('#chat'), {subtree: true, childList: true, characterData: true}); }"
    )
    page.locator("#retry").click()
    page.wait_for_function("() => document.querySelectorAll('#chat a.cite').length === 0", timeout=30_000)
    page.wait_for_function("() => document.querySelectorAll('#chat a.cite').length === 1", timeout=120_000)
    page.locator("#clear").click()
    page.wait_for_function("() => document.querySelectorAll('#chat .answer').length === 0")


def test_an_empty_question_gets_a_sentence(page):
    assert "Type a question" in ask(page, "   ")
