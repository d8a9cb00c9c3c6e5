"""A file that arrives over the API: read within its limit, checked, and given a name that leads nowhere else."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from rag.documents.sniff import SUFFIXES, suffix_of
from rag.serve.api_errors import ApiError, quoted
from rag.serve.grants import plain

FORM_BYTES = 2**16  # what a form holds beside its file
MAX_NAME_BYTES = 120
MAX_SUFFIX_CHARACTERS = 12
PURPOSES = ("assistants", "user_data")
# Controls, line ends, and marks that turn the direction of writing: a name is shown as it is.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file of a form: its bytes, a safe name for it, and notes on what of the form was ignored.

    `collection` is the one to add it to; "" for that of all added files.
    """

    stream: BinaryIO
    name: str
    notes: tuple[str, ...]
    collection: str = ""


@contextlib.asynccontextmanager
async def uploaded(request: Request, max_file_bytes: int) -> AsyncIterator[Uploaded]:
    """The file in the field `file` of a form, as long as the context is open.

    Raises ApiError: 415 for another kind of body, 413 for too many bytes, 400 for a form without a file, a purpose that
    is not served, a kind of file that is not read, and a form that is damaged or ends early.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        message = "the body must be a form with the file in it: -F file=@notes.pdf -F purpose=assistants"
        raise ApiError(415, message, "unsupported_media_type")
    limited = Request(request.scope, _limited(request, max_file_bytes))
    try:
        form = await limited.form(max_files=1, max_fields=16, max_part_size=FORM_BYTES)
    except MultiPartException as error:
        raise ApiError(400, f"the form is damaged: {error.message}", "invalid_form") from error
    except ClientDisconnect as error:
        raise ApiError(400, "the upload ended early: it was stopped, too slow or too large", "invalid_form") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            message = "the form holds no file; send it in the field 'file'"
            raise ApiError(400, message, "missing_required_parameter", "file")
        _check_purpose(form.get("purpose"))
        name = safe_name(file.filename or "")
        _check_kind(name)
        collection = form.get("collection") or ""
        if not isinstance(collection, str):
            raise ApiError(400, "collection must be a name", "invalid_type", "collection")
        unread = sorted(set(form.keys()) - {"file", "purpose", "collection"})
        notes = (f"not used: {', '.join(map(quoted, unread))}",) if unread else ()
        yield Uploaded(file.file, name, notes, plain(collection))
    finally:
        await form.close()


def file_too_large(max_file_bytes: int) -> ApiError:
    """The error for a file of too many bytes."""
    limit = f"{max_file_bytes / 2**20:,.0f} MiB (documents.max_file_mib)"
    return ApiError(413, f"the file is larger than {limit}", "file_too_large", "file")


def safe_name(name: str) -> str:
    """The last part of a name, as it may stand in a folder: no hidden or lock file, shown as it is, and not long."""
    last = _UNSAFE.sub("_", re.split(r"[/\\]", name)[-1]).strip().lstrip(".~$# ")
    suffix = Path(last).suffix
    if len(suffix) > MAX_SUFFIX_CHARACTERS:
        suffix = ""
    stem = last.removesuffix(suffix).encode("utf-8", "replace")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return (stem + suffix) or "upload"


def _limited(request: Request, max_file_bytes: int) -> Receive:
    """The messages of a request; raises ApiError (413) as soon as they are too many bytes."""
    most, n_read = max_file_bytes + FORM_BYTES, 0
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > most):
        raise file_too_large(max_file_bytes)

    async def receive() -> Message:
        nonlocal n_read
        message = await request.receive()
        n_read += len(message.get("body", b""))
        if n_read > most:
            raise file_too_large(max_file_bytes)
        return message

    return receive


def _check_purpose(purpose: object) -> None:
    if purpose not in (None, "", *PURPOSES):
        message = f"the purpose {quoted(purpose)} is not served; documents are added for {' or '.join(PURPOSES)}"
        raise ApiError(400, message, "invalid_value", "purpose")


def _check_kind(name: str) -> None:
    if suffix_of(name) not in SUFFIXES:
        kinds = ", ".join(sorted(suffix for suffix in SUFFIXES if suffix))
        message = f"files such as {quoted(name)} are not read; those are that end in {kinds}"
        raise ApiError(400, message, "unsupported_file", "file")
