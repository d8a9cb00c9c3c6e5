"""Addresses of the pages that show passages in their documents (`rag.serve.source_pages`)."""

from __future__ import annotations

from urllib.parse import quote

from rag.types import Span


def source_link(
    passage_id: str, attached: str = "", sentence: Span | None = None, conversation: str | None = None
) -> str:
    """Where a passage opens in its document, relative to the chat's address.

    `attached` is the key of the conversation whose own files are searched first; "" for none. `sentence` is what is
    marked there, in characters of the passage; without it the whole passage is. `conversation` is where its page leads
    back to.
    """
    within = f"conversation/{attached}/" if attached else ""
    said = [f"sentence={sentence[0]}-{sentence[1]}"] if sentence else []
    said += [f"c={quote(conversation, safe='')}"] if conversation else []
    query = f"?{'&'.join(said)}" if said else ""
    return f"{within}source/{quote(passage_id, safe='@')}{query}#passage"
