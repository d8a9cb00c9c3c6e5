"""Who asks, who may ask, and who may read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from fastapi import Request

from rag.serve.users import RateLimit, Users, address_of, bearer_key

TRIES_A_MINUTE = 10


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the page, and how often. Without `users` everybody who reaches it may."""

    users: Users | None = None
    limit: RateLimit = field(default_factory=lambda: RateLimit(0))

    def allows(self, request: gr.Request) -> bool:
        """Whether the person may still use the page: someone can be removed while logged in."""
        return self.users is None or self.users.knows(person_of(request))

    def wait_seconds(self, request: gr.Request) -> float:
        """0 where the person may ask now, and that counts as a question; else how long to wait."""
        return self.limit.wait_seconds(asker_of(request))


def person_of(request: gr.Request) -> str:
    """The name of the person who is logged in, "" where nobody has to log in."""
    return request.username or ""


def asker_of(request: gr.Request) -> str:
    """Whom a question is counted for: the person, else the address."""
    return person_of(request) or (address_of(request.client.host) if request.client else "")


def key_of(users: Users | None, request: Request) -> str:
    """The person whose API key a request carries, "" for none. Without users, the address it comes from."""
    if users is None:
        return address_of(request.client.host) if request.client else ""
    return users.of_key(bearer_key(request.headers.get("authorization", ""))) or ""


def sender_of(page: gr.Blocks, users: Users | None, request: Request) -> str | None:
    """Who sends a request: the person who is logged in on the page, or whose API key it carries.

    None for nobody; "" where nobody has to log in.
    """
    if users is None:
        return ""
    cookies = (f"access-token-{page.app.cookie_id}", f"access-token-unsecure-{page.app.cookie_id}")
    person = next(filter(None, (page.app.tokens.get(request.cookies.get(name)) for name in cookies)), None)
    if person is None:
        return key_of(users, request) or None
    return person if users.knows(person) else None


def may_read(page: gr.Blocks, users: Users | None, request: Request) -> bool:
    """Whether a request outside the page comes from someone who is logged in there, or carries an API key."""
    return sender_of(page, users, request) is not None


def password_check(users: Users) -> Callable[[str, str], Any]:
    """A check of name and password for Gradio's login, which awaits it.

    Hashing takes long on purpose: it runs outside the event loop, two at a time, and each name gets a few tries a
    minute.
    """
    tries, at_once = RateLimit(TRIES_A_MINUTE), asyncio.Semaphore(2)

    async def check(name: str, password: str) -> bool:
        if tries.wait_seconds(name[:64]) > 0:
            return False
        async with at_once:
            return await asyncio.to_thread(users.check_password, name, password)

    return check
