"""Who asks, and who may read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import gradio as gr
from fastapi import Request

from rag.serve.users import RateLimit, Users

TRIES_A_MINUTE = 10


def password_check(users: Users) -> Callable[[str, str], object]:
    """Password checks off the event loop, a few at a time, and so many tries a minute for each name."""
    tries, at_once = RateLimit(TRIES_A_MINUTE), asyncio.Semaphore(2)

    async def check(name: str, password: str) -> bool:
        if tries.wait_seconds(name[:64]) > 0:
            return False
        async with at_once:
            return await asyncio.to_thread(users.check_password, name, password)

    return check


def person_of(request: gr.Request) -> str:
    """Who is logged in; nobody, where no one has to."""
    return request.username or ""


def may_read(page: gr.Blocks, users: Users | None, request: Request) -> bool:
    """Whether a request outside the page comes from someone who is logged in there, or carries a key."""
    if users is None:
        return True
    cookies = (f"access-token-{page.app.cookie_id}", f"access-token-unsecure-{page.app.cookie_id}")
    person = next(filter(None, (page.app.tokens.get(request.cookies.get(name)) for name in cookies)), None)
    if person is None:
        return bool(key_of(users, request))
    return users.knows(person)


def key_of(users: Users | None, request: Request) -> str:
    """Whose API key a request carries, "" for nobody's; without users, where it comes from."""
    if users is None:
        return request.client.host if request.client else ""
    return users.of_key(request.headers.get("authorization", "").removeprefix("Bearer ")) or ""


def asker_of(request: gr.Request) -> str:
    """Whose questions are counted: a person's, else an address's."""
    return person_of(request) or (request.client.host if request.client else "")
