"""A passage's address below the chat's."""

from __future__ import annotations

from urllib.parse import quote


def source_link(passage_id: str, attached: str = "") -> str:
    """Where a passage opens in its document, below the chat's address; `attached` names a conversation with files."""
    within = f"conversation/{attached}/" if attached else ""
    return f"{within}source/{quote(passage_id, safe='@')}#passage"
