"""An index opened from Python answers, searches and streams as the command does."""

import subprocess
import sys

import pytest

from rag import Index, open_index
from rag.build import pipelines
from rag.errors import ConfigError, DataError, IndexMismatchError
from rag.types import Hit, Response


class Says:
    """A generator that answers the same to everything."""

    context_window_tokens = 4096

    def count_tokens(self, conversation):
        return sum(len(message["content"].split()) for message in conversation)

    def generate(self, conversations):
        return ["In 1931." for _ in conversations]

    def stream(self, conversation):
        yield from ("In ", "1931.")


@pytest.fixture
def index(data, monkeypatch) -> Index:
    settings, folder = data
    monkeypatch.setattr(pipelines, "make_generator", lambda settings, interactive: Says())
    overrides = [
        f"encoder.model={settings.encoder.model}",
        f"reranker.model={settings.reranker.model}",
        f"encoder.max_length_tokens={settings.encoder.max_length_tokens}",
        f"encoder.precision={settings.encoder.precision}",
        f"reranker.precision={settings.reranker.precision}",
        f"reranker.max_length_tokens={settings.reranker.max_length_tokens}",
    ]
    return open_index(folder / "index", overrides=overrides)


def test_it_answers(index):
    response = index.ask(" who built the tower? ")
    assert isinstance(response, Response)
    assert response.query.text == "who built the tower?"
    assert response.answer.text == "In 1931."
    assert len(response.contexts) == 3


def test_it_streams_to_the_same_answer(index):
    *_, last = index.stream("who built the tower?")
    assert last.answer == index.ask("who built the tower?").answer


def test_it_searches(index):
    hits = index.search("who built the tower?", k=4)
    assert len(hits) == 4
    assert all(isinstance(hit, Hit) for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("ask", [Index.ask, Index.search])
def test_an_empty_question_is_refused(index, ask):
    with pytest.raises(DataError, match="the question is empty"):
        ask(index, "  ")


def test_what_is_wrong_is_said_when_it_is_opened(tmp_path, data):
    with pytest.raises(IndexMismatchError, match="holds no index"):
        open_index(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="unknown setting"):
        open_index(data[1] / "index", overrides=["reranker.deep=3"])


def test_the_package_is_imported_at_once():
    code = "import sys, rag; rag.__version__; print(sorted({'torch', 'numpy', 'pydantic', 'typer'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_it_has_no_other_name():
    import rag

    with pytest.raises(AttributeError, match="has no attribute 'open_indexes'"):
        rag.open_indexes  # noqa: B018
