"""Single questions from API and tools."""

from __future__ import annotations

from rag.config import Settings
from rag.errors import RagError
from rag.pipeline import Depths
from rag.serve.api import answer_record
from rag.serve.conversation import Conversation
from rag.serve.turns import Options
from rag.serve.users import RateLimit


def answer_once(conversation: Conversation, options: Options, limit: RateLimit, who: str, question: str) -> dict:
    if (seconds := limit.wait_seconds(who)) > 0:
        raise RagError(f"too many questions in a minute; ask again in {seconds:.0f} s")
    return answer_record(conversation, question, options)


def default_options(settings: Settings) -> Options:
    """What is asked with where nobody chooses."""
    depths = Depths(settings.retriever.depth, settings.reranker.depth, settings.prompt.contexts)
    return Options(settings.retriever.kind, depths)
