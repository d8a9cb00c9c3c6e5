"""What the tests of several parts of the chat begin with."""

import pytest

from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.chat import Chat
from tests.fakes.pipelines import Echo


@pytest.fixture
def make_chat(passages):
    """Makes a chat over these passages; it answers with an echo, unless another generator is given."""

    def build(generator=None, threshold=None):
        return Chat(
            {"bm25": Lazy.of(BM25Retriever(Corpus(passages)))},
            Lazy.of(KeepOrder()),
            Lazy.of(generator or Echo()),
            get_prompt("cited-v1"),
            lambda strictness: threshold,
        )

    return build
