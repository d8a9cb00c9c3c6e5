"""Which rerankers are known to know English alone."""

import pytest

from rag.build.english import knows_latin_alone
from rag.config import load_settings


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("cross-encoder/ms-marco-MiniLM-L-12-v2", True),
        ("rag-qa/minilm-reranker-openqa", True),  # tuned of it
        ("rag-qa/e5-small-openqa", False),  # an adapter of another base
        ("cross-encoder/mmarco-mMiniLMv2-L12-H384-v1", False),
    ],
)
def test_the_packaged_reranker_and_what_was_tuned_of_it_know_english_alone(model, expected):
    assert knows_latin_alone(load_settings(None, [f"reranker.model={model}"])) is expected
    assert not knows_latin_alone(load_settings(None, [f"reranker.model={model}", "reranker.enabled=false"]))
