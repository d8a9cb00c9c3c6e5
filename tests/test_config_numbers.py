"""Numbers that nothing can be counted with are refused when settings are read, each by its name."""

import pytest

from rag.config import load_settings
from rag.errors import ConfigError


@pytest.mark.parametrize(
    "setting",
    [
        "abstain.rerank_threshold=nan",
        "reader.answer_margin=nan",
        "training.reranker.skip_easy=nan",
        "retriever.depth=-1",
        "retriever.depth=0",
        "retriever.depth=99999999999999999999",
        "generator.max_new_tokens=-5",
        "generator.seed=-1",
        "generator.seed=4294967296",
        "training.retriever.seed=-1",
        "training.generator.seed=-7",
        "documents.chunk_tokens=0",
        "serving.questions_per_minute=-1",
        "reranker.depth=1.5",
    ],
)
def test_a_number_of_no_use_is_refused_by_name(setting):
    with pytest.raises(ConfigError, match=f"setting '{setting.partition('=')[0]}'"):
        load_settings(None, [setting])


def test_numbers_that_mean_something_are_read():
    settings = load_settings(None, ["reader.answer_margin=inf", "abstain.rerank_threshold=-8.5", "generator.seed=7"])
    assert (settings.reader.answer_margin, settings.abstain.rerank_threshold) == (float("inf"), -8.5)
    assert settings.generator.seed == 7
