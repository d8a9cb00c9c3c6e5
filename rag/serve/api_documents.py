"""The documents over the API, in the form of OpenAI's files: listed, added, deleted, and read as they are.

    GET    /v1/files               the documents: limit, after, order, purpose as OpenAI's
    POST   /v1/files               add one: a form with `file` and, if wanted, `purpose` and `collection`
    GET    /v1/files/ID            one of them
    GET    /v1/files/ID/content    its bytes
    DELETE /v1/files/ID            take it out of the index

An id is `file-` and the first digits of the file's SHA-256, which begin the ids of its passages too. A document that is
answered with status 200 is searched at once. Each person reaches the documents that they may read
(`rag.serve.readers`).
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from rag.build.indexes import remove_from_index
from rag.build.serving import Serving
from rag.documents.address import page_name
from rag.documents.collection import Ingested
from rag.documents.records import HASH_CHARACTERS, path_of
from rag.documents.scan import readable, resolved, shown_path
from rag.documents.web.store import FOLDER as WEB
from rag.errors import IndexBusyError, RagError
from rag.files import file_sha256
from rag.index.ingest import uploads_folder
from rag.index.removal import is_upload
from rag.index.uploads import check_collection
from rag.serve.api_errors import ApiError, quoted
from rag.serve.api_uploads import PURPOSES, Uploaded, file_too_large, uploaded
from rag.serve.chat import Chat
from rag.serve.readers import Readers
from rag.serve.shelf import Shelf

MAX_AT_ONCE = 4
MAX_LISTED = 10_000
ID_START = "file-"
Asker = Callable[[Request], str]
Document = Mapping[str, Any]


class DocumentFiles:
    """The documents of an index as files.

    `add` takes the path of a file into the index, to a collection ("" for that of all added files), and `remove` a
    document out of it by its SHA-256, from those of its places that a function says; both let the chat search the index
    as it is then. `uploads` is the folder of copies. `closed` says why neither is allowed; "" where they are.
    """

    def __init__(
        self,
        index: Path,
        uploads: Path,
        add: Callable[[Path, str], Ingested],
        remove: Callable[[str, Callable[[Mapping], bool]], object],
        *,
        max_file_bytes: int,
        closed: str = "",
    ):
        self._index, self._uploads, self._readers = index, uploads, Readers()
        self._add, self._remove = add, remove
        self._max_file_bytes, self._closed = max_file_bytes, closed
        self._places = threading.BoundedSemaphore(MAX_AT_ONCE)
        self._changing = threading.Lock()  # one change after another

    def routes(self, asker: Asker, readers: Readers) -> list[Route]:
        """The routes, for those whom `asker` lets in, with what they may read."""
        self._readers = readers

        def for_askers(answer: Callable[[Request, str], Response]) -> Callable[[Request], Response]:
            def endpoint(request: Request) -> Response:
                return answer(request, asker(request))

            return endpoint

        async def create(request: Request) -> Response:
            return await self.create(request, asker(request))

        one = "/v1/files/{file_id}"
        return [
            Route("/v1/files", for_askers(self.list_files), methods=["GET"]),
            Route("/v1/files", create, methods=["POST"]),
            Route(one, for_askers(self.retrieve), methods=["GET"]),
            Route(one, for_askers(self.delete), methods=["DELETE"]),
            Route(f"{one}/content", for_askers(self.content), methods=["GET"]),
        ]

    def list_files(self, request: Request, who: str) -> Response:
        """GET /v1/files: the newest first, or by `order`."""
        query = request.query_params
        limit, order = query.get("limit", str(MAX_LISTED)), query.get("order", "desc")
        if not re.fullmatch(r"[0-9]{1,5}", limit) or not 1 <= int(limit) <= MAX_LISTED:
            raise ApiError(400, f"limit must be a number from 1 to {MAX_LISTED:,}", "invalid_value", "limit")
        if order not in ("asc", "desc"):
            raise ApiError(400, "order must be asc or desc", "invalid_value", "order")
        files = [_file_object(*entry) for entry in self._documents(who).values()]
        files.sort(key=lambda file: (file["created_at"], file["id"]), reverse=order == "desc")
        if query.get("purpose") not in (None, "", *PURPOSES):
            files = []
        if after := query.get("after"):
            at = next((n for n, file in enumerate(files) if file["id"] == after), None)
            if at is None:
                raise ApiError(400, f"there is no file {quoted(after)} to go on after", "invalid_value", "after")
            files = files[at + 1 :]
        page = files[: int(limit)]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return JSONResponse({"object": "list", "data": page, "has_more": len(files) > len(page), **ends})

    def retrieve(self, request: Request, who: str) -> Response:
        """GET /v1/files/ID."""
        return JSONResponse(_file_object(*self._document(request, who)))

    def content(self, request: Request, who: str) -> Response:
        """GET /v1/files/ID/content: the bytes that were read, where they are still there."""
        self._check_open()
        row, _ = self._document(request, who)
        for place in row["paths"]:
            path = self._index / WEB / place["path"] if place.get("address") else path_of(place)
            try:
                if file_sha256(path) == row["sha256"]:
                    name = _file_object(row, ())["filename"]
                    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
                    return FileResponse(path, media_type="application/octet-stream", filename=name, headers=headers)
            except OSError:
                continue
        raise ApiError(
            404, "the file has changed since, or is gone; its passages are still searched", "file_gone", "id"
        )

    def delete(self, request: Request, who: str) -> Response:
        """DELETE /v1/files/ID: out of every collection that the person may read."""
        self._check_open()
        with self._changing:
            row, _ = self._document(request, who)
            self._changed(lambda: self._remove(row["sha256"], lambda place: place in row["paths"]))
        kept = [_shown(place) for place in row["paths"] if not is_upload(place, resolved(self._uploads))]
        notes = [f"{name} itself stays where it is; it is left out until it is ingested again" for name in kept]
        return JSONResponse({"id": _id_of(row), "object": "file", "deleted": True, "notes": notes})

    async def create(self, request: Request, who: str) -> Response:
        """POST /v1/files. Nothing of the body is read where no document may be added."""
        self._check_open()
        if not self._places.acquire(blocking=False):
            message = f"{MAX_AT_ONCE} files are being added; try again in a moment"
            raise ApiError(503, message, "overloaded", wait_seconds=5)
        try:
            async with uploaded(request, self._max_file_bytes) as file:
                return await run_in_threadpool(self._take, file, who)
        finally:
            self._places.release()

    def _check_open(self) -> None:
        if self._closed:
            raise ApiError(403, self._closed, "not_allowed")

    def _take(self, file: Uploaded, who: str) -> Response:
        """Add an uploaded file; one that its collection holds already, byte for byte, is not added again."""
        self._check_collection(file.collection, who)
        with tempfile.TemporaryDirectory(prefix="rag-upload-") as folder:
            path = Path(folder) / file.name
            with path.open("wb") as stream:
                shutil.copyfileobj(file.stream, stream)
            if path.stat().st_size > self._max_file_bytes:
                raise file_too_large(self._max_file_bytes)
            sha256 = file_sha256(path)
            with self._changing:
                held = self._documents(who).get(sha256)
                if held and (not file.collection or file.collection in held[1]):
                    there = f"these bytes were there already, as {_shown(held[0]['paths'][0])}"
                    return JSONResponse(_file_object(*held, notes=[*file.notes, there]))
                result = self._changed(lambda: self._add(path, file.collection))
                return JSONResponse(self._added(result, sha256, file, who, str(path)))

    def _check_collection(self, name: str, who: str) -> None:
        """Raises ApiError for what is no name of a collection (400), and for one of other people (403)."""
        if name:
            try:
                check_collection(name)
            except RagError as error:
                raise ApiError(400, str(error), "invalid_value", "collection") from error
        if not self._readers.may_add_to(who, name or self._uploads.name):
            where = quoted(name) if name else "the added documents"
            message = f"nothing can be added to {where}; name another collection"
            raise ApiError(403, message, "not_allowed", "collection")

    def _added(self, result: Ingested, sha256: str, file: Uploaded, who: str, path: str) -> dict[str, Any]:
        """The file object of what was added. Raises ApiError (400), with the reason, where it could not be read."""
        if all(document.sha256 != sha256 for document in result.documents):
            reason = result.left_out.get(result.copies.get(path, ""), "holds nothing that can be read")
            raise ApiError(400, f"{quoted(file.name)} was not added: {reason}", "unreadable_file", "file")
        return _file_object(*self._documents(who)[sha256], notes=file.notes)

    def _changed(self, change: Callable[[], Any]) -> Any:
        """What a change of the index returns. Raises ApiError: 409 while another process changes it."""
        try:
            return change()
        except IndexBusyError as error:
            raise ApiError(409, str(error), "index_busy", wait_seconds=5) from error
        except RagError as error:
            raise ApiError(400, str(error), "not_changed", "file") from error
        except OSError as error:
            raise ApiError(500, f"the index cannot be written: {error.strerror or error}", "storage_failed") from error

    def _documents(self, who: str) -> dict[str, tuple[Document, Sequence[str]]]:
        """Each document that somebody may read, with the names of its collections, by its SHA-256."""
        found: dict[str, tuple[Document, list[str]]] = {}
        for collection, rows in self._readers.collections(who).items():
            for row in rows:
                found.setdefault(row["sha256"], (row, []))[1].append(collection)
        return {sha256: (row, names) for sha256, (row, names) in found.items()}

    def _document(self, request: Request, who: str) -> tuple[Document, Sequence[str]]:
        """The document whose id the path names. Raises ApiError (404)."""
        wanted = request.path_params["file_id"]
        for entry in self._documents(who).values():
            if _id_of(entry[0]) == wanted:
                return entry
        raise ApiError(404, f"there is no file {quoted(wanted)}", "file_not_found", "id")


def _id_of(row: Document) -> str:
    return ID_START + row["sha256"][:HASH_CHARACTERS]


def _shown(place: Mapping) -> str:
    """A place of a document as people know it: with the last part of the folder that was named; or the address."""
    return place.get("address") or readable(shown_path(place["root"], place["path"], place.get("collection", "")))


def _file_object(row: Document, collections: Sequence[str], *, notes: Sequence[str] = ()) -> dict[str, Any]:
    """A document as OpenAI's file object, with what else is known of it."""
    place = row["paths"][0]
    address = place.get("address", "")
    return {
        "id": _id_of(row),
        "object": "file",
        "bytes": place["size"],
        "created_at": int(place["modified"]),
        "expires_at": None,
        "filename": page_name(address) if address else Path(_shown(place)).name,
        "purpose": PURPOSES[0],
        "status": "processed",
        "status_details": None,
        "title": row["title"],
        "kind": row["kind"],
        "path": _shown(place),
        "passages": row["n_passages"],
        "collections": list(collections),
        "notes": [*row.get("notes", ()), *notes],
    }


def document_files(serving: Serving, shelf: Shelf, chat: Chat, *, may_upload: bool) -> DocumentFiles:
    """The documents of an index as files; `may_upload` says whether documents may be added and deleted at all."""
    settings, index = serving.settings, shelf.index
    uploads = uploads_folder(index)
    closed = "" if may_upload else "documents cannot be added or deleted here; allow it: --set serving.uploads=on"
    if serving.manifest.corpus_path:
        closed = "this index is made from one corpus file; add documents to an index of documents (rag ingest)"

    def remove(sha256: str, within: Callable[[Mapping], bool]) -> Ingested:
        return remove_from_index(settings, sha256, index, uploads, within=within)

    return DocumentFiles(
        index,
        uploads,
        lambda path, collection: shelf.take_in([str(path)], chat, collection),
        lambda sha256, within: shelf.take_out(sha256, chat, within, remove),
        max_file_bytes=int(settings.documents.max_file_mib * 2**20),
        closed=closed,
    )
