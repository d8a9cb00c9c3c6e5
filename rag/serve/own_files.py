"""The files of a conversation: whose they are, by the key that only the person's browser knows."""

from __future__ import annotations

import re
import uuid

from fastapi import HTTPException

from rag.serve.page_parts import PageParts

NOT_HERE = "This conversation is not here. It may have been deleted, or belong to somebody else."
_KEY = re.compile(r"[0-9a-f]{32}")


def key_of_files(parts: PageParts, person: str, conversation: str, attached: str) -> str:
    """The key of the files of a person's conversation, or of one that has not begun; "" for none.

    Raises HTTPException: 400 for what is no key, and 403 for the key of somebody else's.
    """
    if conversation and (kept := parts.history.attached(person, conversation)):
        return kept
    if not attached:
        return ""
    if not _KEY.fullmatch(attached):
        raise HTTPException(400, "attached is no key of a conversation's files.")
    check_key(parts, person, attached)
    return attached


def check_key(parts: PageParts, person: str, attached: str) -> None:
    """Raises HTTPException (403) for the key of files that belong to somebody else's conversation."""
    if attached and parts.history.keeper_of(attached) not in (None, person):
        raise HTTPException(403, "These files belong to somebody else's conversation.")


def new_key(parts: PageParts, person: str, conversation: str, attached: str) -> str:
    """As `key_of_files`; a new key, which the conversation has from now on, where there is none.

    Raises HTTPException (404) for a conversation that is not theirs.
    """
    if conversation and parts.history.open(person, conversation) is None:
        raise HTTPException(404, NOT_HERE)
    key = key_of_files(parts, person, conversation, attached) or uuid.uuid4().hex
    if conversation:
        parts.history.attach(person, conversation, key)
    return key
