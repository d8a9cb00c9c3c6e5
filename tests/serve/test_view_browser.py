"""Reading an answer in a real browser: citations, cards, code, thumbs, and what a refusal offers."""

import pytest

from rag.lazy import Lazy
from rag.serve.page import page_app
from rag.types import CANNOTANSWER, Passage, Place
from tests.fakes.browsers import NEEDS_CHROMIUM, chromium, served
from tests.fakes.pages import make_chat, make_parts
from tests.fakes.pipelines import ByWords, Echo

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]

FILLER = " ".join(f"Clause {n} of the rules says nothing of ferries." for n in range(40))
RULES = f"{FILLER} The amber ferry leaves at noon. {FILLER}"
COPY = "Dogs are free on the amber ferry."
PASSAGES = (
    Passage("rules@0", RULES, "Rules", "docs/rules.pdf", Place(0, len(RULES), 2)),
    Passage("dogs@0", COPY, "about:blank", "docs/dogs.txt", Place(0, len(COPY))),
    Passage("pets@0", COPY, "Pets", "docs/pets.txt", Place(0, len(COPY))),
)
ANSWER = "It leaves **at noon** [1].\n\n```python\nx = 1\n```\n"


class Says(Echo):
    def stream(self, conversation):
        yield CANNOTANSWER if "lighthouse" in conversation[-1]["content"].rsplit("\n", 3)[-1] else ANSWER


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    chat = make_chat(Says(), passages=PASSAGES, prompt="cited-v2", threshold_at=lambda strictness: 0.5)
    chat.reranker = Lazy.of(ByWords())
    return make_parts(tmp_path_factory.mktemp("view"), chat)


@pytest.fixture(scope="module")
def address(parts):
    with served(page_app(parts)) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def asked(browser, address):
    """The page with an answer on it; its scripts may not fail."""
    contexts, problems = [], []

    def ask(question="When does the amber ferry leave?", width=1440, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
        page.goto(address)
        page.locator("#composer textarea").fill(question)
        page.keyboard.press("Enter")
        page.locator(".reply .tools button").first.wait_for()
        return page

    yield ask
    for context in contexts:
        context.close()
    assert problems == []


def test_a_citation_shows_its_sentence_when_pointed_at_and_when_it_has_the_focus(asked):
    page = asked()
    cite = page.locator(".answer button.cite").first
    preview = page.locator("#preview")
    cite.hover()
    preview.wait_for()
    assert "Rules" in preview.inner_text()
    assert "rules.pdf, page 2" in preview.inner_text()
    assert "The amber ferry leaves at noon." in preview.inner_text()
    page.keyboard.press("Escape")
    preview.wait_for(state="hidden")
    page.mouse.move(5, 5)
    cite.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    preview.wait_for()
    assert cite.get_attribute("aria-describedby") == "preview"


def test_a_click_on_a_citation_leads_to_its_card_with_the_sentence_in_sight(asked):
    page = asked()
    page.locator(".answer button.cite").first.click()
    card = page.locator("article.source.chosen")
    card.wait_for()
    assert card.get_attribute("data-source") == "1"
    assert card.locator(".where").inner_text() == "rules.pdf, page 2"
    assert "rules@0" not in card.inner_text()
    mark = card.locator("mark")
    assert mark.inner_text() == "The amber ferry leaves at noon."
    in_sight = """card => {
      const [box, mark] = [".excerpt", "mark"].map((name) => card.querySelector(name).getBoundingClientRect());
      return box.top <= mark.top && mark.bottom <= box.bottom;
    }"""
    page.wait_for_function(in_sight, arg=card.element_handle())
    rank = card.locator("button.rank")
    assert "match" in rank.inner_text()
    assert not any(ch.isdigit() for ch in rank.inner_text())
    rank.click()
    assert any(ch.isdigit() for ch in rank.inner_text())
    assert page.evaluate("document.activeElement.closest('article.source')?.dataset.source") == "1"


def test_on_a_phone_the_card_lies_over_the_answer_and_closes_back_to_it(asked):
    page = asked(width=390, height=844, is_mobile=True, has_touch=True)
    page.locator(".answer button.cite").first.tap()
    page.locator("article.source.chosen").wait_for()
    back = page.locator(".back-to-answer")
    back.tap()
    page.locator("#right").wait_for(state="hidden")
    assert page.locator(".answer").is_visible()


def test_code_has_its_own_button_to_copy_it_and_an_answer_is_copied_as_markdown(asked):
    page = asked(permissions=["clipboard-read", "clipboard-write"])
    page.locator(".answer figure.code .copy-code").click()
    assert page.evaluate("navigator.clipboard.readText()") == "x = 1"
    page.get_by_role("button", name="Copy with citations").click()
    page.get_by_role("button", name="Copied").first.wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "It leaves **at noon** [1]" in copied
    assert "- [1] Rules, rules.pdf, page 2" in copied


def test_thumbs_are_thanked_for_and_every_reason_is_in_sight(asked, parts):
    page = asked(width=390, height=844)
    page.get_by_role("button", name="Bad answer").click()
    thanks = page.locator(".thanks")
    thanks.wait_for()
    assert "Thank you." in thanks.inner_text()
    assert "Whoever runs this chat can tune with it" in thanks.inner_text()
    for reason in thanks.locator(".reason").all():
        box = reason.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    page.get_by_role("button", name="Wrong source").click()
    page.locator('.reason[aria-pressed="true"]').wait_for()
    page.get_by_role("button", name="Send").click()
    page.locator(".reasons").wait_for(state="detached")
    assert [judged.reason for judged in parts.history.judged() if not judged.liked] == ["Wrong source"]
    assert page.get_by_role("button", name="Bad answer").get_attribute("aria-pressed") == "true"


def test_equal_passages_share_a_card_and_a_title_that_is_none_is_not_shown(asked):
    page = asked("Are dogs free on the amber ferry?")
    page.locator("article.source").first.wait_for()
    shown = page.locator("#sources").inner_text()
    assert shown.count("The same text:") == 1
    assert "about:blank" not in shown


def test_a_refusal_says_what_was_searched_and_answers_more_on_request(asked):
    page = asked("Who zoned the moon?")
    assert "Not in these documents. I searched all documents for" in page.locator(".answer").inner_text()
    offer = page.get_by_role("button", name="Answer even when less sure")
    with page.expect_request("**/page/ask") as sent:
        offer.click()
    assert sent.value.post_data_json["options"]["strictness"] == "low"
    assert sent.value.post_data_json["from_turn"] == 1


def test_what_has_not_changed_stays_as_it_is_while_an_answer_grows(asked, address):
    page = asked()
    kept = page.evaluate(
        """async () => {
          const main = document.querySelector('script[type=module]').src;
          const { morph } = await import(main.replace('main.js', 'answer.js'));
          const box = document.createElement('div');
          morph(box, '<p>One <button>[1]</button></p><p>Tw</p>');
          const [first, button, text] = [box.firstChild, box.querySelector('button'), box.lastChild.firstChild];
          morph(box, '<p>One <button>[1]</button></p><p>Two and</p><ul><li>x</li></ul>');
          const same = first === box.firstChild && button === box.querySelector('button')
            && text === box.children[1].firstChild;
          return [same, box.innerHTML];
        }"""
    )
    assert kept == [True, "<p>One <button>[1]</button></p><p>Two and</p><ul><li>x</li></ul>"]
