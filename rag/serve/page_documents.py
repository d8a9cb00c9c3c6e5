"""The page's documents: listed and searched, added, and removed.

    GET    /page/documents                   `query`, `collection`, `offset`, `limit`; `conversation`, `attached`
    GET    /page/documents/adding            what this person is adding, and `n_changes`
    POST   /page/documents/files             a form of `files`; `to` (all, conversation), `collection`, `folder`
    POST   /page/documents/addresses         {"address", "collection"}
    DELETE /page/documents/adding/ITEM       stop it, or take it from the list
    DELETE /page/documents/ID                out of the index, or with `own=1` out of the conversation

A conversation is named by `conversation`, its id, and `attached`, the key of files that were added before it began.
Refusals are `{"detail": SENTENCE}`. Each person reaches the documents that they may read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from rag.documents.address import canonical
from rag.documents.scan import resolved
from rag.documents.sniff import SUFFIXES
from rag.errors import IndexBusyError, RagError
from rag.index.ingest import uploads_folder
from rag.index.uploads import check_collection
from rag.serve.adding import Adding, folder_of
from rag.serve.api_body import read_json_body
from rag.serve.api_errors import ApiError
from rag.serve.document_rows import matches, row_of_item, rows_left_out, rows_of, rows_of_conversation
from rag.serve.grants import plain
from rag.serve.intake import Item
from rag.serve.limits import Refused
from rag.serve.own_files import key_of_files, new_key
from rag.serve.page_parts import PageParts
from rag.serve.removing import Removing

ENDINGS = sorted({*filter(None, SUFFIXES), ".json", ".gz"})
LISTED = 200
MOST_LISTED = 2000
MAX_QUERY_CHARACTERS = 200
NOT_ALLOWED = "Documents cannot be added or removed here; allow it with --set serving.uploads=on."
OF_A_CORPUS = "This index is made from one corpus file; files can be added to a conversation alone."


def make_documents_router(parts: PageParts, documents: PageDocuments | None = None) -> APIRouter:
    """The routes, each for the person who asks; `documents` are those of the parts."""
    router, documents = APIRouter(), documents or PageDocuments(parts)

    def serve(method: str, path: str, answer: Callable[[Request, str], Any]) -> None:
        def endpoint(request: Request) -> Response:
            return _json(_said(lambda: answer(request, parts.person(request))))

        router.add_api_route(path, endpoint, methods=[method], include_in_schema=False)

    async def send(request: Request) -> Response:
        return _json(await documents.receive(request, parts.person(request)))

    async def address(request: Request) -> Response:
        person = parts.person(request)
        try:
            body = await read_json_body(request)
        except ApiError as error:
            raise HTTPException(error.status, str(error)) from error
        return _json(await run_in_threadpool(_said, lambda: documents.add_address(body, person)))

    serve("GET", "/page/documents", documents.listed)
    serve("GET", "/page/documents/adding", documents.adding_now)
    serve("DELETE", "/page/documents/adding/{item}", documents.drop)
    serve("DELETE", "/page/documents/{document}", documents.remove)
    router.add_api_route("/page/documents/files", send, methods=["POST"], include_in_schema=False)
    router.add_api_route("/page/documents/addresses", address, methods=["POST"], include_in_schema=False)
    return router


class PageDocuments:
    """The documents of the page. What a person adds waits in `intake`."""

    def __init__(self, parts: PageParts):
        self._parts = parts
        self._uploads = resolved(uploads_folder(parts.index)) if parts.index is not None else None
        self._adding = Adding(parts)
        self.intake = self._adding.intake
        self._removing = Removing(parts, self.intake)

    def listed(self, request: Request, person: str) -> dict[str, Any]:
        """GET /page/documents: what is being added, what is there, and what could not be read."""
        query = request.query_params
        words, only = query.get("query", "")[:MAX_QUERY_CHARACTERS], query.get("collection", "")
        collections = self._parts.collections_of(person)
        attached = self._key(request, person)
        chosen = collections if not only else {only: collections.get(only, ())}
        ready = rows_of(chosen, self._uploads) if self._uploads is not None else []
        left_out = self._left_out(chosen, every=not only and self._parts.readers.names(person) is None)
        own = self._own(attached)
        found = [row for row in [*ready, *left_out] if matches(row, words)]
        start, most = _number(query.get("offset", ""), 0), min(_number(query.get("limit", ""), LISTED), MOST_LISTED)
        uploads = self._uploads.name if self._uploads is not None else ""
        return {
            **self.adding_now(request, person),
            "own": own,
            "documents": found[start : start + most],
            "n": len(found),
            "n_left_out": len(left_out),
            "collections": [
                {"name": name, "label": "Added here" if name == uploads else name, "n": len(rows)}
                | {"may_write": self._may_write(person, name)}
                for name, rows in collections.items()
            ],
            "may_add_to_all": self._may_change(),
            "may_add_to_conversation": self._parts.room is not None and self._parts.attachments is not None,
            "may_remove": self._may_change(),
            "endings": ENDINGS,
        }

    def adding_now(self, request: Request, person: str) -> dict[str, Any]:
        """GET /page/documents/adding."""
        items = self.intake.of(person, self._key(request, person))
        return {
            "adding": [row_of_item(item) for item in items],
            "progress": self.intake.progress if any(item.state == "reading" for item in items) else "",
            "n_changes": self.intake.n_changes,
        }

    async def receive(self, request: Request, person: str) -> dict[str, Any]:
        """POST /page/documents/files: take the files in, and put them into the line."""
        room, query = self._parts.room, request.query_params
        if room is None:
            raise HTTPException(403, NOT_ALLOWED)
        to_all = query.get("to", "all") == "all"
        collection = await run_in_threadpool(self._target, query.get("collection", ""), person, to_all=to_all)
        announced = request.headers.get("content-length", "")
        n_bytes = min(int(announced), room.max_bytes) if announced.isdecimal() else room.max_bytes
        try:
            paths = await room.take(request, person, n_bytes)
        except Refused as refused:
            wait = {"Retry-After": str(refused.wait_seconds)} if refused.wait_seconds else None
            raise HTTPException(refused.status, refused.sentence, wait) from refused
        except MultiPartException as error:
            raise HTTPException(413 if "exceed" in error.message else 400, error.message) from error
        except ClientDisconnect:
            raise HTTPException(400, "The connection was lost.") from None

        def put() -> dict[str, Any]:
            attached = ""
            if not to_all:
                if self._parts.attachments is None:
                    raise HTTPException(403, NOT_ALLOWED)
                conversation = query.get("conversation", "")
                attached = new_key(self._parts, person, conversation, query.get("attached", ""))
            items = self._adding.put(paths, person, collection, folder_of(query.get("folder", "")), attached)
            return {"items": [row_of_item(item) for item in items], "attached": attached}

        try:
            return await run_in_threadpool(_said, put)
        except HTTPException:
            room.drop(paths)
            raise

    def add_address(self, body: Mapping[str, Any], person: str) -> dict[str, Any]:
        """POST /page/documents/addresses."""
        address, collection = body.get("address"), body.get("collection") or ""
        if not isinstance(address, str) or not isinstance(collection, str):
            raise HTTPException(400, "address and collection are texts.")
        shelf = self._parts.shelf
        if not self._may_change() or shelf is None or shelf.add_address is None:
            raise HTTPException(403, NOT_ALLOWED)
        if "://" not in address:
            address = f"https://{address.strip()}"
        page = canonical(address)
        item = Item(page, person, page, self._target(collection, person, to_all=True), is_address=True)
        self.intake.add([item])
        return {"items": [row_of_item(item)], "attached": ""}

    def drop(self, request: Request, person: str) -> dict[str, Any]:
        """DELETE /page/documents/adding/ITEM."""
        if not self.intake.drop(person, request.path_params["item"]):
            raise HTTPException(404, "This is not in the list any more.")
        return {}

    def remove(self, request: Request, person: str) -> dict[str, Any]:
        """DELETE /page/documents/ID: nobody finds it from now on; the index may need a while longer."""
        wanted = request.path_params["document"]
        if request.query_params.get("own") == "1":
            return self._removing.from_conversation(wanted, self._key(request, person))
        if not self._may_change():
            raise HTTPException(403, NOT_ALLOWED)
        return self._removing.from_all(wanted, person)

    def _key(self, request: Request, person: str) -> str:
        query = request.query_params
        return key_of_files(self._parts, person, query.get("conversation", ""), query.get("attached", ""))

    def _own(self, attached: str) -> list[dict[str, Any]]:
        attachments = self._parts.attachments
        if attachments is None or not attached:
            return []
        return rows_of_conversation(attachments.documents(attached), attached)

    def _left_out(self, collections: Any, *, every: bool) -> list[dict[str, Any]]:
        if self._parts.shelf is None or self._uploads is None:
            return []
        return rows_left_out(self._parts.shelf.left_out(), collections, self._uploads, every=every)

    def _may_change(self) -> bool:
        """Whether everybody's documents may be changed here."""
        return self._parts.room is not None and self._parts.add_to_all is not None

    def _may_write(self, person: str, name: str) -> bool:
        try:
            return self._may_change() and self._parts.readers.may_add_to(person, check_collection(name))
        except RagError:
            return False

    def _target(self, name: str, person: str, *, to_all: bool) -> str:
        """The collection to add to; "" for that of all added files. Raises HTTPException where that is not allowed."""
        if not to_all:
            return ""
        if not self._may_change() or self._uploads is None:
            raise HTTPException(403, OF_A_CORPUS if self._parts.room is not None else NOT_ALLOWED)
        name = plain(name)
        known = {each.casefold(): each for each in self._parts.collections_of(person)}
        name = known.get(name.casefold(), name)
        if name == self._uploads.name:
            name = ""
        if name:
            _said(lambda: check_collection(name))
        if not self._parts.readers.may_add_to(person, name or self._uploads.name):
            raise HTTPException(403, "Nothing can be added to a collection of this name; choose another name.")
        return name


def _said(work: Callable[[], Any]) -> Any:
    """What `work` returns; raises HTTPException with the sentence of what it raises."""
    try:
        return work()
    except IndexBusyError as error:
        raise HTTPException(409, str(error), {"Retry-After": "5"}) from error
    except RagError as error:
        raise HTTPException(400, str(error)) from error


def _json(content: Any) -> Response:
    """An answer that no cache keeps: it is one person's."""
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else otherwise
