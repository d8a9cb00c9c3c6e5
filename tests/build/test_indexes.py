"""The index of the sample corpus, which answers where no other is named."""

import pytest
from typer.testing import CliRunner

from rag.build import indexes
from rag.build.indexes import sample_index
from rag.cli.main import app
from rag.config import load_settings
from rag.data import corpus
from rag.data.passages import Corpus
from rag.index.folder import serving_manifest


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
