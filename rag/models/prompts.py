"""What families of encoders put before questions and passages, for checkpoints that do not say it in their files.

By their model cards. A name that is not known has no prompts: none is invented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SEARCHING = "Represent this sentence for searching relevant passages: "
_INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "

_FAMILIES: tuple[tuple[re.Pattern[str], dict[str, str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), prompts)
    for pattern, prompts in (
        (r"(multilingual-)?e5-(large-instruct|mistral)", {"query": _INSTRUCT, "passage": ""}),
        (r"(multilingual-)?e5-(small|base|large)", {"query": "query: ", "passage": "passage: "}),
        (r"bge-(small|base|large)-en", {"query": _SEARCHING, "passage": ""}),
        (r"bge-(small|base|large)-zh", {"query": "为这个句子生成表示以用于检索相关文章：", "passage": ""}),
        (r"bge-m3$", {"query": "", "passage": ""}),
        (r"(mxbai-embed|uae-large)", {"query": _SEARCHING, "passage": ""}),
        (r"snowflake-arctic-embed-[a-z]+-v2", {"query": "query: ", "passage": ""}),
        (r"snowflake-arctic-embed", {"query": _SEARCHING, "passage": ""}),
        (r"nomic-embed-text", {"query": "search_query: ", "passage": "search_document: "}),
        (r"(all|multi-qa|paraphrase|msmarco)-", {"query": "", "passage": ""}),
        (r"(gte|jina-embeddings-v2|granite-embedding|potion|labse)\b", {"query": "", "passage": ""}),
    )
)


def known_prompts(name: str) -> Mapping[str, str]:
    """{"query": …, "passage": …} of the family that a model's name belongs to; empty where none is known.

    `name` is that of a hub or a folder; what counts is its last part, from the beginning.
    """
    last = name.rstrip("/").rsplit("/", 1)[-1]
    return next((prompts for pattern, prompts in _FAMILIES if pattern.match(last)), {})
