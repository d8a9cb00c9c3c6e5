"""The index of the sample corpus, which answers where no other is named."""

import pytest
from typer.testing import CliRunner

from rag.build import indexes, parts
from rag.build.identity import run_identity
from rag.build.indexes import sample_index
from rag.build.serving import serving_over
from rag.cli.main import app
from rag.config import load_settings
from rag.data import corpus
from rag.data.passages import Corpus
from rag.generate.written import MAX_NEW_TOKENS
from rag.index.folder import serving_manifest
from rag.index.read import open_index
from rag.types import Passage
from tests.fakes.tiny import write_corpus


@pytest.fixture
def sample(tmp_path, monkeypatch, encoder, passages):
    """A small sample corpus; returns where its index belongs."""
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(corpus, "embedded_corpus", lambda: Corpus(passages))
    return tmp_path / "home" / "indexes" / "embedded"


def test_it_is_built_where_it_is_missing_and_said_to_be_the_sample(sample, capsys):
    assert sample_index(load_settings()) == sample
    assert serving_manifest(sample)[1].n_passages == 7
    said = capsys.readouterr().err
    assert "answering from the sample" in said
    assert f"building the sample's index in {sample}" in said


def test_it_is_built_once(sample, monkeypatch, capsys):
    sample_index(load_settings())
    capsys.readouterr()
    monkeypatch.setattr(indexes, "make_index", lambda *given: pytest.fail("built again"))
    assert sample_index(load_settings()) == sample
    said = capsys.readouterr().err
    assert "answering from the sample" in said
    assert "building" not in said


def test_an_index_of_another_python_s_reference_is_built_again(sample, monkeypatch, passages):
    sample_index(load_settings())
    monkeypatch.setattr(corpus, "embedded_corpus", lambda: Corpus(passages[:3]))
    sample_index(load_settings())
    assert serving_manifest(sample)[1].n_passages == 3


def test_a_question_without_an_index_is_asked_of_the_sample(sample):
    command = ["search", "Who designed the Amber Line?", "--set", "retriever.kind=bm25"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "Clara Voss" in result.stdout
    assert "answering from the sample" in result.stderr
    assert (sample / "CURRENT").is_file()


class Asks:
    """Writes a question about the title of a passage."""

    def __init__(self):
        self.n = 0

    def generate(self, conversations):
        self.n += len(conversations)
        return [f"Who ever asks about {each[7]['content'].splitlines()[0]}?" for each in conversations]


def test_questions_are_written_by_the_generator_of_the_settings_and_stay_with_the_passages(data, monkeypatch):
    settings, folder = data
    generator, given = Asks(), []
    monkeypatch.setattr(parts, "make_generator", lambda settings, interactive: given.append(settings) or generator)
    long = [Passage(f"d{n}@0", "so on and " * 12, f"Machine {n}") for n in range(4)]
    asking = with_questions(settings, 1)
    manifest = indexes.make_index(asking, write_corpus(folder / "long.txt", long), folder / "long")
    assert (manifest.questions, generator.n) == (1, 4)
    assert given[0].generator.max_new_tokens == MAX_NEW_TOKENS
    own = open_index(folder / "long").questions()
    assert own.questions[2] == ("Who ever asks about Machine 2?",)
    # Another encoder's index, an index encoded again and one of other settings ask nothing.
    serving = serving_over(settings, folder / "long")
    alike = indexes.make_index_alike(serving, settings.encoder.model, folder / "alike")
    assert open_index(alike.index_folder).questions() == own
    indexes.rebuild_index(settings, folder / "long")
    assert open_index(folder / "long").questions() == own
    assert generator.n == 4
    # What identifies a run is the index, and not how it was made.
    identities = [run_identity(serving_over(s, folder / "long"), "q", generate=False) for s in (settings, asking)]
    assert identities[0]["settings"] == identities[1]["settings"]
    assert "questions" not in identities[0]["settings"]["index"]
    assert indexes.rebuild_index(with_questions(settings, 0), folder / "long").questions == 0


def with_questions(settings, n):
    return settings.model_copy(update={"index": settings.index.model_copy(update={"questions": n})})
