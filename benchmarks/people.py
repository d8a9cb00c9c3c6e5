"""Let twenty people ask at once: does anybody get an error, or another person's answer?

    python -m benchmarks.people INDEX [--people 20] [--pages 4] [--set …]

INDEX is an index of the sample corpus, which the questions are about; the chat runs over a copy of it. First every
question is asked alone, over the page's API. Then all are asked at once: `--pages` of them are typed by visitors, each
with a page in headless chromium (opening twenty takes minutes on two cores), the others come from clients of the API.
Each must get the answer that its question got alone. Prints what differs, and how long all at once took against one
after the other. The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gradio_client import Client
from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import TimeoutError as PageTimeoutError

from rag.models.resolve import rag_home
from rag.serve.history import history_path

QUESTIONS = (
    "What does the nonlocal statement do?",
    "When is the else clause of a for loop executed?",
    "What does the pass statement do?",
    "What happens when an assert statement fails?",
    "What does the yield expression do in a function?",
    "What is a lambda expression?",
    "What does the break statement do?",
    "What does the continue statement do?",
    "When is the finally clause of a try statement executed?",
    "What does the del statement do to a name?",
    "What does the with statement call on exit?",
    "What does the global statement do?",
    "Which values are considered false?",
    "What is an ellipsis literal used for?",
    "What does the await expression suspend?",
    "How is an imaginary literal written?",
    "What does the raise statement do without an expression?",
    "What does the walrus operator assign?",
    "Which operator binds the strongest?",
    "What is an orphan in a bonsai garden?",
)
SETTLED = (
    "() => document.querySelectorAll('#chat .answer, #chat .refusal, #chat .problem').length > 0"
    " && !document.querySelector('#chat').innerText.includes('▍')"
)
MINUTES = 15


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_served(address: str, chat: subprocess.Popen) -> None:
    for _ in range(300):
        if chat.poll() is not None:
            sys.exit("the chat ended before it served")
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    sys.exit("the chat does not answer")


async def open_page(browser: Browser, address: str, question: str) -> Page:
    """A visitor's page with the question typed but not sent."""
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(MINUTES * 60_000)
    await page.goto(address)
    await page.locator("#question textarea").fill(question)
    return page


async def ask(page: Page) -> tuple[str, str]:
    """(the text that the page shows, the problem that it shows or "")."""
    await page.locator("#question textarea").press("Enter")
    try:
        await page.wait_for_function(SETTLED)
    except PageTimeoutError:
        return "", f"no answer in {MINUTES} minutes"
    problem = page.locator("#chat .problem")
    said = await page.locator("#chat .answer, #chat .refusal, #chat .problem").last.inner_text()
    return said, said if await problem.count() else ""


def plain(answer: str) -> str:
    """The words of an answer, without the marks of its citations."""
    return " ".join(re.sub(r"\[\d+(, *\d+)*\]", " ", answer).split())


async def ask_all(address: str, questions: list[str], n_pages: int) -> tuple[list[tuple[str, str]], float]:
    """(answer, problem) of every question, and the seconds from the first question sent to the last answer."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        pages = [await open_page(browser, address, question) for question in questions[:n_pages]]
        clients = [await asyncio.to_thread(Client, address, verbose=False) for _ in questions[n_pages:]]
        threads = ThreadPoolExecutor(max(len(clients), 1))  # asyncio's own pool is too small
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        over_the_api = [
            loop.run_in_executor(threads, ask_client, client, question)
            for client, question in zip(clients, questions[n_pages:], strict=True)
        ]
        said = await asyncio.gather(*map(ask, pages), *over_the_api)
        return said, time.perf_counter() - started


def ask_client(client: Client, question: str) -> tuple[str, str]:
    """(answer, problem) of a question over the page's API."""
    try:
        return client.predict(question, api_name="/ask")["answer"], ""
    except Exception as error:  # whatever a client raises is what a person would see
        return "", f"{type(error).__name__}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", help="an index of the sample corpus")
    parser.add_argument("--people", type=int, default=len(QUESTIONS), help="how many ask")
    parser.add_argument("--pages", type=int, default=4, help="how many of them use a browser page")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    given = parser.parse_args()
    questions = [QUESTIONS[n % len(QUESTIONS)] for n in range(given.people)]
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    options = [part for setting in ("serving.questions_per_minute=0", *given.set) for part in ("--set", setting)]
    folder = Path(tempfile.mkdtemp())
    index = folder / "index"  # a copy, so that no real conversations are touched
    shutil.copytree(given.index, index)
    chat = subprocess.Popen([sys.executable, "-m", "rag", "chat", "-i", str(index), "--port", str(port), *options])
    try:
        wait_until_served(address, chat)
        client = Client(address, verbose=False)
        client.predict(questions[0], api_name="/ask")  # loads the models
        started = time.perf_counter()
        alone = [client.predict(question, api_name="/ask")["answer"] for question in questions]
        one_by_one = time.perf_counter() - started
        print(f"one after the other: {one_by_one:.0f} s", flush=True)
        together, at_once = asyncio.run(ask_all(address, questions, given.pages))
    finally:
        chat.terminate()
        chat.wait()
        history_path(rag_home(), index).unlink(missing_ok=True)
        shutil.rmtree(folder)
    errors = [problem for _, problem in together if problem]
    others = [
        (question, wanted, said)
        for question, wanted, (said, problem) in zip(questions, alone, together, strict=True)
        if not problem and plain(wanted) != plain(said)
    ]
    print(f"{len(questions)} people: {len(errors)} errors, {len(others)} with another answer than when asked alone")
    for question, wanted, said in others:
        print(f"  {question}\n    alone: {wanted!r}\n    now:   {said!r}")
    for problem in errors:
        print(f"  error: {problem}")
    print(f"all at once against one after the other: {at_once / one_by_one:.2f} ({one_by_one:.0f} s)")
    sys.exit(1 if errors or others else 0)


if __name__ == "__main__":
    main()
