"""Thirty clients at once, half of them leaving in the middle, while files are added: a small copy of the real attack.

`python -m benchmarks attack load` does the same with real models.
"""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.attack import load
from rag.build.indexes import ingest_documents
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.progress import check_waiting
from rag.rerank.keep_order import KeepOrder
from rag.serve import start
from rag.serve.api import MAX_AT_ONCE
from rag.serve.chat import Chat
from tests.fakes.documents import SETTINGS
from tests.fakes.writers import Writer, eventually
from tests.serve.test_leaving import free_port

CLIENTS = load.CLIENTS


class Copies(Writer):
    """Says the code that stands in the passage about the place that is asked for, in pieces."""

    def _write(self, put, conversation):
        with self._counting:
            self.writing += 1
        try:
            content = conversation[-1]["content"]
            place = re.findall(r"the code of the (\w+)\?", content)[-1]
            (code,) = re.findall(rf"The code of the {place} is (\S+)\.", content)
            for character in code:
                put(character)
                time.sleep(0.01)
                check_waiting()
        finally:
            with self._counting:
                self.writing -= 1


@pytest.fixture
def served(tmp_path, encoder, monkeypatch):
    """(address, index, generator, chat) of a chat over a document for each client."""
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    documents, index = tmp_path / "documents", tmp_path / "index"
    documents.mkdir()
    for number, place in enumerate(load.PLACES):
        text = f"The code of the {place} is {load.code_of(number)}. It stands in the town."
        (documents / f"{place}.txt").write_text(text, "utf-8")
    ingest_documents(SETTINGS, [documents], index)
    generator, chats = Copies(), []

    def make_chat(serving, retrievers, narrow):
        parts = retrievers().each(), Lazy.of(KeepOrder()), Lazy.of(generator), get_prompt("cited-v1")
        chats.append(Chat(*parts, lambda strictness: None, narrow=narrow))
        return chats[-1]

    monkeypatch.setattr(start, "make_chat", make_chat)
    changed = {"questions_per_minute": 0, "max_waiting": 5}
    settings = SETTINGS.model_copy(
        update={
            "serving": SETTINGS.serving.model_copy(update=changed),
            "retriever": SETTINGS.retriever.model_copy(update={"kind": "bm25"}),
        }
    )
    page = start.serve(settings, index, port=free_port(), block=False)
    yield page.local_url.rstrip("/"), index, generator, chats[0]
    page.close(verbose=False)


def test_nobody_gets_an_error_or_anothers_answer_and_no_place_is_lost(served, tmp_path):
    address, index, generator, chat = served
    added = tmp_path / "added"
    added.mkdir()

    def add():
        for number in range(3):
            (added / f"{number}.txt").write_text(f"The lagoon has rule {number}.", "utf-8")
            ingest_documents(SETTINGS, [added], index)

    adding = threading.Thread(target=add)
    with ThreadPoolExecutor(CLIENTS) as pool:
        adding.start()
        left = [pool.submit(load.ask_and_leave, address, n, 0.02 * n) for n in range(1, CLIENTS, 2)]
        ways = {n: load.WAYS[n // 2 % len(load.WAYS)] for n in range(0, CLIENTS, 2)}
        staying = [(n, pool.submit(way, address, load.question(n))) for n, way in ways.items()]
        assert load.faults_of([(n, answer.result()) for n, answer in staying]) == []
        for client in left:
            client.result()
        adding.join()
        assert eventually(lambda: generator.writing == 0 and chat.n_waiting == 0)
        # As many as have a place can ask at once, again and again, and none is told to come again.
        for _ in range(2):
            numbers = range(MAX_AT_ONCE)
            asked = [pool.submit(load.ask_api, address, load.question(n), stream=bool(n % 2)) for n in numbers]
            told = [answer.result() for answer in asked]
            assert load.faults_of(list(enumerate(told))) == []
            assert [got.retries for got in told] == [0] * MAX_AT_ONCE


def test_a_fault_is_seen():
    mine, other = load.Told(200, load.code_of(3)), load.Told(200, load.code_of(4))
    assert load.faults_of([(3, mine)]) == []
    assert len(load.faults_of([(3, other), (3, load.Told(500, load.code_of(3))), (3, load.Told(200, ""))])) == 3
    assert len(load.faults_of([(3, load.Told(200, f"{mine.text} {other.text}"))])) == 1


AT = 'data: {"choices": [{"delta": {"content": "At "}}]}\n\n'
ERROR = '{"error": {"message": "no"}}'


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ('{"choices": [{"message": {"content": "At noon [1].\\n\\nSources:\\n[1] x"}}]}', "At noon [1].\n\n"),
        (AT + AT.replace("At ", "noon") + "data: [DONE]\n\n", "At noon"),
        ('event: heartbeat\ndata: null\n\nevent: complete\ndata: [{"answer": "At noon"}]\n\n', "At noon"),
        (ERROR, ERROR),
        (AT, AT),  # it breaks off
    ],
)
def test_the_words_of_an_answer_are_found_however_it_was_sent(reply, words):
    assert load.words_of(reply) == words
