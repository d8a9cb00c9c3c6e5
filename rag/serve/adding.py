"""How what the page adds gets into the index, or into the files of a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rag.documents.sniff import SUFFIXES, suffix_of
from rag.errors import DataError
from rag.files import file_sha256
from rag.index.uploads import COLLECTION_MARK
from rag.serve.api_uploads import safe_name
from rag.serve.intake import Intake, Item, outcome_of
from rag.serve.page_parts import PageParts

MAX_FOLDERS = 8
THERE = "it was there already"


class Adding:
    """What is being added to the documents of a page; `intake` holds it."""

    def __init__(self, parts: PageParts):
        self._parts = parts
        self.intake = Intake(self._take, self._drop)

    def put(
        self, paths: Sequence[str], person: str, collection: str = "", folder: str = "", attached: str = ""
    ) -> list[Item]:
        """Put files that arrived into the line; of kinds that are not read they are left out at once."""
        items = [Item(Path(path).name, person, path, collection, folder, attached) for path in paths]
        for item in items:
            suffix = suffix_of(item.name)
            if suffix not in SUFFIXES:
                kind = f"of this kind ({suffix})" if suffix else "of this kind"
                item.end("left out", f"files {kind} are not read")
        self.intake.add(items)
        self._drop([item for item in items if item.state == "left out"])
        return items

    def _drop(self, items: Sequence[Item]) -> None:
        """Delete files that have arrived and are done with."""
        if self._parts.room is not None:
            self._parts.room.drop([item.source for item in items if not item.is_address])

    def _take(self, items: Sequence[Item]) -> None:
        """Take items of one place in."""
        if items[0].is_address:
            self._take_page(items[0])
        elif items[0].attached:
            self._take_to_conversation(items)
        else:
            self._take_to_all(items)

    def _take_page(self, item: Item) -> None:
        shelf = self._parts.shelf
        if shelf is None or shelf.add_address is None:
            raise DataError("web pages cannot be added here")
        add = shelf.add_address
        result = shelf.change(lambda: add(item.source, item.collection), self._parts.chat)
        found = [each.sha256 for each in result.documents if item.source in (p.get("address") for p in each.paths)]
        if not found and item.source in result.left_out:
            raise DataError(result.left_out[item.source])
        item.end("ready", document=found[0] if found else "")

    def _take_to_conversation(self, items: Sequence[Item]) -> None:
        attachments = self._parts.attachments
        if attachments is None:
            raise DataError("files cannot be added to conversations here")
        hashes = {item.id: file_sha256(Path(item.source)) for item in items}
        result = attachments.take_in(items[0].attached, [item.source for item in items])
        for item in items:
            copy = result.copies.get(item.source, "")
            outcome_of(item, hashes[item.id], result.documents, result.left_out, copy)

    def _take_to_all(self, items: Sequence[Item]) -> None:
        shelf, collection = self._parts.shelf, items[0].collection
        if shelf is None:
            raise DataError("files cannot be added here")
        hashes = {item.id: file_sha256(Path(item.source)) for item in items}
        there = self._there(items[0].person, collection)
        new = []
        for item in items:
            if hashes[item.id] in there:
                item.end("ready", THERE, hashes[item.id])
            else:
                new.append(item)
        if not new:
            return
        within = {item.source: item.folder for item in new if item.folder}
        result = shelf.take_in([item.source for item in new], self._parts.chat, collection, within)
        for item in new:
            copy = result.copies.get(item.source, "")
            outcome_of(item, hashes[item.id], result.documents, result.left_out, copy)

    def _there(self, person: str, collection: str) -> set[str]:
        """The documents that a person knows of in a collection; "" for all that they may read."""
        collections = self._parts.collections_of(person)
        chosen = [collections.get(collection, ())] if collection else collections.values()
        return {row["sha256"] for rows in chosen for row in rows}


def folder_of(sent: str) -> str:
    """The folder in which a file was sent, as it may stand below the folder of copies; "" for none."""
    parts = [part for part in re.split(r"[/\\]", sent[:1000]) if part.strip(". ")]
    safe = [safe_name(part).lstrip(COLLECTION_MARK + " ") for part in parts[:MAX_FOLDERS]]
    return "/".join(part for part in safe if part)
