"""The page without a browser: its one endpoint under load and under limits. What people see is tested in test_page."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from app import make_app
from rag.chat import Conversation
from rag.config import load_settings
from rag.data import Corpus
from rag.generate.prompts import get_prompt
from rag.pipeline import KeepOrder, Lazy
from rag.retrieve.bm25 import BM25Retriever
from rag.types import Passage
from rag.users import RateLimit, Users
from tests.test_pipeline import Echo

PEOPLE = 20


@pytest.fixture
def serve(monkeypatch):
    """Serve the page over a passage for each of twenty people; returns its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    corpus = Corpus([Passage(f"doc{n}@0", f"Person {n} likes colour{n}.", f"Title{n}") for n in range(PEOPLE)])
    pages = []

    def start(*, limit=None, users=None, auth=None):
        conversation = Conversation(
            {"bm25": Lazy.of(BM25Retriever(corpus))},
            Lazy.of(KeepOrder()),
            Lazy.of(Echo()),
            get_prompt("cited-v1"),
            lambda strictness: None,
        )
        settings = load_settings(None, ["retriever.kind=bm25"])
        page = make_app(conversation, settings, title="Test", limit=limit, users=users)
        page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, auth=auth)
        pages.append(page)
        return page.local_url

    yield start
    for page in pages:
        page.close()


def ask(address, question, **options):
    return Client(address, verbose=False, **options).predict(question, api_name="/ask")


def test_twenty_people_at_once_get_each_their_own_answer(serve):
    address = serve()
    with ThreadPoolExecutor(PEOPLE) as people:
        replies = list(people.map(lambda n: ask(address, f"what does colour{n} mean"), range(PEOPLE)))
    assert [[citation["id"] for citation in reply["citations"]] for reply in replies] == [
        [f"doc{n}@0"] for n in range(PEOPLE)
    ]


def test_who_asks_too_fast_and_what_is_no_question_is_told(serve):
    address = serve(limit=RateLimit(2))
    with pytest.raises(AppError, match="Type a question"):
        ask(address, " ")
    ask(address, "colour1")
    with pytest.raises(AppError, match="too many questions in a minute"):
        ask(address, "colour2")


def test_whoever_is_removed_may_not_go_on_asking(serve, tmp_path):
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    address = serve(users=users, auth=users.check_password)
    with pytest.raises(Exception, match=r"[Aa]uth|401|[Ll]og ?in"):
        ask(address, "colour1")
    client = Client(address, auth=("ada", "correct horse"), verbose=False)
    assert client.predict("colour1", api_name="/ask")["citations"]
    users.remove("ada")
    with pytest.raises(AppError, match="no longer"):
        client.predict("colour1", api_name="/ask")
