"""What stands before the chat, made of the settings: the guard, the logins, and the room for files on their way."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import gradio as gr

from rag.config import Settings
from rag.serve.access import sender_of
from rag.serve.guard import Guard, Rules
from rag.serve.logins import Logins
from rag.serve.origins import Origins
from rag.serve.upload_room import UploadRoom, uploads_root
from rag.serve.users import LOOPBACK, Users

MIB = 2**20


def is_for_one(settings: Settings, host: str, users: Users | None) -> bool:
    """Whether nobody but the person at this machine reaches the chat."""
    return users is None and host in LOOPBACK and not settings.serving.origins


def make_room(settings: Settings, *, may_upload: bool) -> UploadRoom | None:
    """The room for files that are added from the page; None where none can be. To be called before the page is made."""
    root, sizes = uploads_root(), (settings.serving.max_upload_mib, settings.documents.max_file_mib)
    return UploadRoom(root, *(int(mib * MIB) for mib in sizes)) if may_upload else None


def guarded(
    beside: dict[str, Any], page: gr.Blocks, settings: Settings, host: str, users: Users | None, room: UploadRoom | None
) -> dict[str, Any]:
    """What the page's application is made with, so that every request meets the guard first."""
    rules = Rules(
        # A page of the web may give its own name the address of this machine, and ask through a browser here.
        Origins.of(settings.serving.origins, only_local=users is None and host in LOOPBACK),
        partial(sender_of, page, users),
        room is not None,
        int(settings.serving.max_upload_mib * MIB),
        lambda number: number in page.fns,
    )
    inner: Callable | None = beside.get("lifespan")

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        # Gradio puts its own layers around those that it is given: the guard goes around them all, before the first
        # request.
        app.middleware_stack = Guard(app.middleware_stack, rules)
        if users is not None:
            app.tokens = Logins(users)
        async with inner(app) if inner is not None else contextlib.nullcontext():
            yield

    return {**beside, "lifespan": lifespan}


def public_address(settings: Settings) -> str | None:
    """The address that the page finds its parts under: the first of the named ones that has a path; else None."""
    paths = (address.rstrip("/") for address in settings.serving.origins)
    return next((address for address in paths if address.count("/") > 2), None)
