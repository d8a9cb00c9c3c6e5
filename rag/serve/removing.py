"""How a document is removed from the page: nobody finds it from now on, and the index follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import HTTPException

from rag.documents.records import HASH_CHARACTERS
from rag.documents.scan import resolved
from rag.errors import RagError
from rag.index.ingest import uploads_folder
from rag.progress import Background
from rag.serve.document_rows import rows_of
from rag.serve.intake import Intake, Item
from rag.serve.page_parts import PageParts
from rag.serve.shelf import when_free

SECONDS_TO_WAIT = 10.0
SECONDS_TO_TRY = 600.0
GONE = "This document is not here any more."


class Removing:
    """Removes documents; what becomes of it later is told through `intake`."""

    def __init__(self, parts: PageParts, intake: Intake):
        self._parts, self._intake = parts, intake

    def from_all(self, wanted: str, person: str) -> dict[str, Any]:
        """Take a document out of what the person may read, by the beginning of its hash.

        Copies of added files are deleted, other files stay. Raises HTTPException (404) where they know of none,
        RagError where it cannot be removed.
        """
        shelf, chat = self._parts.shelf, self._parts.chat
        rows = [row for rows in self._parts.collections_of(person).values() for row in rows]
        row = _found(rows, wanted)
        if shelf is None or self._parts.index is None:
            raise HTTPException(404, GONE)
        (shown,) = rows_of({"": [row]}, resolved(uploads_folder(self._parts.index)))
        places = row["paths"]

        work = Background(
            lambda: shelf.take_out(row["sha256"], chat, lambda place: place in places, patience=SECONDS_TO_TRY)
        )
        is_done = work.wait(SECONDS_TO_WAIT)
        if is_done:
            self._intake.changed()
            work.result()
        else:
            Background(lambda: self._tell_later(work, shown["name"], person))
        note = ""
        if shown["stays"]:
            what = "The page stays on the web" if shown["address"] else "The file itself stays where it is"
            note = f"{what}; it is left out until it is ingested again."
        return {"id": wanted, "name": shown["name"], "is_done": is_done, "note": note}

    def from_conversation(self, wanted: str, attached: str) -> dict[str, Any]:
        """Take a document out of a conversation's own files. Raises as `from_all`."""
        attachments = self._parts.attachments
        if attachments is None or not attached:
            raise HTTPException(404, GONE)
        row = _found(attachments.documents(attached), wanted)
        when_free(lambda: attachments.remove(attached, row["sha256"]), SECONDS_TO_TRY)
        self._intake.changed()
        return {"id": wanted, "name": str(row["path"]), "is_done": True, "note": ""}

    def _tell_later(self, work: Background, name: str, person: str) -> None:
        """Show the person that a document could not be removed after all."""
        try:
            work.result()
        except RagError as error:
            item = Item(name, person, "")
            item.end("left out", f"it is still there: {error}")
            self._intake.add([item])
        self._intake.changed()


def _found(rows: Sequence[Mapping], wanted: str) -> Mapping:
    row = next((row for row in rows if row["sha256"][:HASH_CHARACTERS] == wanted), None)
    if row is None:
        raise HTTPException(404, GONE)
    return row
