"""Several generators in one chat: which are offered, and that the chosen one answers with its own prompt."""

import pytest
from openai import OpenAI
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rag.config import load_settings
from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths, Reading
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.api import make_router
from rag.serve.chat import Chat
from rag.serve.offered import make_writer, offered_models, offered_writers
from rag.serve.page_parts import Model
from rag.serve.turns import Options
from rag.serve.users import RateLimit
from rag.serve.writers import Writer
from tests.fakes.chat_server import running
from tests.fakes.pipelines import Echo

OPTIONS = Options("bm25", Depths(10, 10, 2))
PACKAGED = Model("packaged", "Qwen2.5-Coder-0.5B-Instruct (packaged)")


class Says(Echo):
    def __init__(self, words):
        super().__init__()
        self.words, self.told = words, ""

    def _answer(self, conversation):
        self.told = conversation[0]["content"]
        return f"{self.words} [1]"


@pytest.fixture
def chat(passages):
    writers = {
        "other": Lazy(lambda: Writer(Lazy.of(Says("the other")), get_prompt("extract-v1"))),
        "broken": Lazy(lambda: make_writer(load_settings(), "http://127.0.0.1:9/v1#m", None)),
    }
    return Chat(
        {"bm25": Lazy.of(BM25Retriever(Corpus(passages)))},
        Lazy.of(KeepOrder()),
        Lazy.of(Says("the usual")),
        get_prompt("cited-v1"),
        lambda strictness: None,
        writers=writers,
    )


def ask(chat, model=""):
    return list(chat.ask("who designed the amber line", [], Options("bm25", Depths(10, 10, 2), model=model)))[-1]


def test_the_chosen_model_answers_with_its_own_prompt_and_the_usual_one_is_not_asked(chat):
    chosen, usual = ask(chat, "other"), ask(chat)
    assert chosen.response.answer.text == "the other"
    assert usual.response.answer.text == "the usual"
    assert chat.writers["other"].get().generator.get().told == get_prompt("extract-v1").system
    assert chat.generator.get().told == get_prompt("cited-v1").system


def test_a_model_is_made_when_it_is_first_asked(chat):
    assert not chat.writers["other"].loaded
    ask(chat)
    assert not chat.writers["other"].loaded
    ask(chat, "other")
    assert chat.writers["other"].loaded


def test_an_answer_of_another_model_does_not_make_the_usual_one_ready(chat):
    ask(chat, "other")
    assert not chat.ready
    ask(chat)
    assert chat.ready


def test_a_model_that_cannot_be_had_says_why_and_the_others_answer(chat):
    assert "no server answers at http://127.0.0.1:9/v1" in ask(chat, "broken").error
    assert ask(chat, "nobody").error == "the model 'nobody' is not offered here; choose other, broken"
    assert ask(chat).response.answer.text == "the usual"


def test_the_usual_one_the_listed_ones_and_the_packaged_one_are_offered(monkeypatch):
    monkeypatch.setattr("rag.serve.offered._is_packaged", lambda settings: False)
    settings = load_settings(None, ['serving.models=["ollama:qwen3:4b", "packaged", "ollama:qwen3:4b"]'])
    assert list(offered_models(settings)) == [
        Model("", "Qwen3-1.7B (in this process)"),
        Model("ollama:qwen3:4b", "qwen3:4b (Ollama)"),
        PACKAGED,
    ]
    served = load_settings(
        None, ["generator.kind=server", "generator.server_url=http://gpu:8000/v1", "generator.model=m"]
    )
    assert list(offered_models(served)) == [Model("", "m (gpu:8000)"), PACKAGED]


def test_the_packaged_one_is_offered_once_where_it_is_the_usual_one():
    settings = load_settings(None, ["generator.model=Qwen/Qwen2.5-Coder-0.5B-Instruct"])
    assert list(offered_models(settings)) == [Model("", PACKAGED.label)]


def test_what_stands_in_for_a_model_out_of_reach_is_named_as_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    monkeypatch.setattr("rag.serve.offered.cached_on_hub", lambda name: None)
    monkeypatch.setattr("rag.serve.offered.hub_answers", lambda: False)
    assert list(offered_models(load_settings())) == [Model("", PACKAGED.label)]
    monkeypatch.setattr("rag.serve.offered.hub_answers", lambda: True)
    assert [model.label for model in offered_models(load_settings())] == [
        "Qwen3-1.7B (in this process)",
        PACKAGED.label,
    ]


def test_a_served_model_is_asked_in_sentences_and_the_reader_is_shared():
    with running() as server:
        server.pages["/v1/models"] = {"data": [{"id": "m", "max_model_len": 3000}]}
        reader = Lazy(lambda: None)
        overrides = ["generator.server_reasoning=high", "generator.context_window_tokens=1000"]
        usual = load_settings(None, [*overrides, f'serving.models=["{server.url}"]'])
        of_the_usual = Writer(Lazy(lambda: None), get_prompt("extract-v1"), 6.0, Reading(reader, 3, 2.0))
        writer = offered_writers(usual, of_the_usual)[server.url].get()
        generator = writer.generator.get()
    assert writer.prompt.name == "cited-v2"
    assert writer.sentence_margin is None  # whole passages
    assert writer.reading == Reading(reader, 3, None)  # no span is the answer
    assert (generator.model, generator.context_window_tokens) == ("m", 3000)
    assert "reasoning_effort" not in generator._fields.request([])  # that belongs to the usual one


def test_the_packaged_one_is_not_loaded_twice_where_it_is_the_usual_one(monkeypatch):
    usual = Writer(Lazy(lambda: None), get_prompt("extract-v1"))
    for is_packaged in (True, False):
        monkeypatch.setattr("rag.serve.offered._is_packaged", lambda settings, answer=is_packaged: answer)
        assert (offered_writers(load_settings(), usual)["packaged"].get() is usual) == is_packaged


def test_nobody_is_asked_for_the_list_before_somebody_looks(monkeypatch):
    asked = []
    monkeypatch.setattr("rag.serve.offered._is_packaged", lambda settings: bool(asked.append(settings)))
    offered = offered_models(load_settings())
    assert asked == []
    assert len(offered) == 2
    assert [model.name for model in offered] == ["", "packaged"]


@pytest.fixture
def client(chat):
    app = Starlette(routes=make_router(chat, OPTIONS, users=None, limit=RateLimit(0)).routes)
    http = TestClient(app)
    return OpenAI(base_url="http://testserver/v1", api_key="none", http_client=http, max_retries=0)


def test_the_api_lists_the_models_and_answers_with_the_one_that_is_named(client):
    assert [model.id for model in client.models.list()] == ["rag", "other", "broken"]
    assert client.models.retrieve("other").id == "other"

    def answer(model):
        messages = [{"role": "user", "content": "who designed the amber line"}]
        return client.chat.completions.create(model=model, messages=messages)

    assert answer("other").choices[0].message.content.startswith("the other")
    assert answer("other").model == "other"
    assert answer("rag").choices[0].message.content.startswith("the usual")
    with pytest.raises(Exception, match="no model 'nobody'; there is 'rag', 'other', 'broken'"):
        answer("nobody")
