"""Which model embeds questions: the one that was named or promoted for them, else the encoder itself."""

import pytest

from rag.build.parts import query_model
from rag.config import load_settings
from rag.models.promoted import promote, questions_of

ENCODER = load_settings().encoder.model


@pytest.fixture(autouse=True)
def promoted(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    (tmp_path / "questions").mkdir()
    promote(questions_of(ENCODER), tmp_path / "questions")
    return str(tmp_path / "questions")


def test_what_was_promoted_for_questions_embeds_them(promoted):
    assert query_model(load_settings()) == promoted
    assert query_model(load_settings(None, ["encoder.model=other/encoder"])) is None


def test_the_encoder_itself_embeds_questions_where_it_is_named():
    assert query_model(load_settings(None, [f"encoder.query_model={ENCODER}"])) is None
