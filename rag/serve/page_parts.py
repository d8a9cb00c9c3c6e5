"""What the parts of the page are made of, and whose request it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import HTTPException, Request

from rag.serve.access import Access
from rag.serve.chat import Chat
from rag.serve.history import History
from rag.serve.readers import Collections, Readers
from rag.serve.turns import Options
from rag.serve.users import address_of

if TYPE_CHECKING:
    from rag.serve.attachments import Attachments
    from rag.serve.shelf import Shelf
    from rag.serve.suggestions import Suggestions
    from rag.serve.upload_room import UploadRoom

VISIT_COOKIE = "rag-visit"
VISIT_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Model:
    """A generator that a person may choose: `name` is what a question names it by, `label` what they read."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class PageParts:
    """What the routes of the page work with.

    `history` keeps the conversations. Where `keeps_history` is false it lasts as long as the chat. With `is_local` one
    person alone can be there; else somebody who need not log in is known by a cookie of their browser.

    `defaults` are the options that the settings begin with. `readers` gives the documents by their collection, as far
    as a person may read them. `n_passages` counts the passages of the index. `add_to_all` adds files to everybody's
    documents: it takes paths and returns lines that say what was done; None where that is not allowed. `attachments`
    are the files of single conversations. `models` are the generators that a person may choose; with none or one there
    is nothing to choose. `suggestions` gives questions that a person can ask, which may change until they are final. At
    most `max_waiting` questions wait for their turn.
    """

    chat: Chat
    defaults: Options
    history: History
    access: Access = field(default_factory=Access)
    keeps_history: bool = True
    is_local: bool = False
    shelf: Shelf | None = None
    attachments: Attachments | None = None
    room: UploadRoom | None = None
    readers: Readers = field(default_factory=Readers)
    n_passages: Callable[[], int] = int
    add_to_all: Callable[[Sequence[str]], Sequence[str]] | None = None
    title: str = "Ask your documents"
    index: Path | None = None
    models: Sequence[Model] = ()
    suggestions: Suggestions | None = None
    max_waiting: int = 64

    @property
    def index_name(self) -> str:
        """What people call the index: the name of its folder."""
        if self.index is None:
            return ""
        name = self.index.resolve().name
        return name.removesuffix(".index") or name

    @property
    def may_upload(self) -> bool:
        """Whether files can be added at all, to one conversation or to everybody's documents."""
        return self.room is not None or self.add_to_all is not None or self.attachments is not None

    @property
    def knows_everybody(self) -> bool:
        """Whether whoever comes is somebody in particular: logged in, or the one person who can be there."""
        return self.access.users is not None or self.is_local

    def collections_of(self, person: str) -> Collections:
        """The documents that a person may read, by their collection."""
        return self.readers.collections(person)

    def person(self, request: Request) -> str:
        """Whose conversations a request may touch. Raises HTTPException (401) for somebody who may not use the page.

        The name of the person who is logged in. Where nobody has to log in: "" where one person alone can be there,
        else the visit that the browser's cookie names, which nobody can guess.
        """
        if self.access.users is not None:
            name = getattr(request.state, "person", "")
            if not name or not self.access.users.knows(name):
                raise HTTPException(401, "Log in first.")
            return name
        if self.is_local:
            return ""
        visit = request.cookies.get(VISIT_COOKIE, "")
        if len(visit) != VISIT_CHARACTERS or not visit.isalnum() or not visit.isascii():
            raise HTTPException(401, "Open the page first, with cookies allowed.")
        return f"visit:{visit}"

    def asker(self, request: Request) -> str:
        """Whom a question is counted for: the person who is logged in, else the address."""
        if self.access.users is not None:
            return self.person(request)
        return address_of(request.client.host) if request.client else ""
