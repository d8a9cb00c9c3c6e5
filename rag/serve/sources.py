"""Passages in their documents: where in the text a passage stands, and pictures of its pages."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rag.data.passages import Corpus
from rag.documents.document import Block, BlockKind, Document
from rag.documents.pages import PageImage
from rag.documents.parsed import ParsedDocuments
from rag.documents.records import HASH_CHARACTERS, path_of
from rag.documents.web.store import FOLDER as WEB
from rag.documents.worker import ParserProcess
from rag.errors import UnreadableFile
from rag.index.read import OpenIndex, kept_documents
from rag.types import Passage, Place

NOT_KEPT = "The text of this file is no longer kept; these are the passages of it that answers are drawn from."
SECONDS_TO_WAIT = 5.0
MAX_PICTURES = 3
TAIL = 40  # characters of a passage by which its place is known again; a table's header stands above its text


@dataclass(frozen=True, slots=True)
class Source:
    """A passage in its document.

    `start` and `end` delimit the passage in the document's text, in characters. `sha256` and `paths` are of the file,
    empty for a passage of a corpus file. `note` is for the reader, "" for none.
    """

    passage: Passage
    document: Document
    start: int
    end: int
    sha256: str = ""
    paths: tuple[Path, ...] = ()
    note: str = ""


class Sources:
    """Finds passages in the documents of an index; `open_index` gives the state that answers are drawn from."""

    def __init__(self, index_folder: str | Path, open_index: Callable[[], OpenIndex]):
        self.open_index = open_index
        self._folder = Path(index_folder)
        self._parser = ParserProcess(seconds=30)
        self._lock = threading.Lock()

    def find(self, passage_id: str) -> Source | None:
        """The passage in its document, or None where the documents no longer hold it."""
        corpus = self.open_index().corpus
        if passage_id not in corpus:
            return None
        passage = corpus.by_id(passage_id)
        if passage.place is None:
            return _among_others(passage, corpus)
        source = self._in_file(passage, passage.place)
        return source or dataclasses.replace(_among_others(passage, corpus), note=NOT_KEPT)

    def pictures(self, source: Source, number: int | None = None) -> list[PageImage]:
        """The pages of a PDF that the passage stands on, at most `MAX_PICTURES` of them; or page `number` alone.

        Raises UnreadableFile where the file has changed or is gone.
        """
        pages = _pages(source)
        wanted = [number] if number else sorted(pages)[:MAX_PICTURES]
        # A request that waits takes a place from all others: better refused than waiting long.
        if not self._lock.acquire(timeout=SECONDS_TO_WAIT):
            raise UnreadableFile("cannot be drawn now: others are waiting for theirs")
        try:
            problem: UnreadableFile | None = None
            for path in source.paths:
                try:
                    return [self._parser.render(path, source.sha256, n, pages.get(n, "")) for n in wanted]
                except UnreadableFile as error:
                    problem = error
        finally:
            self._lock.release()
        raise problem or UnreadableFile("has no file")

    def close(self) -> None:
        """End the process that draws pages, once it has finished the one it is drawing."""
        with self._lock:
            self._parser.close()

    def _in_file(self, passage: Passage, place: Place) -> Source | None:
        """The passage in the parsed text of its file; None where that is no longer kept."""
        hash_start = passage.document
        for row in kept_documents(self._folder):
            if row["sha256"][:HASH_CHARACTERS] == hash_start:
                parsed = ParsedDocuments(self._folder).read(row["sha256"], any_version=True)
                # After `rag rollback` the text may be that of a newer parser, in which the passage stands elsewhere.
                if parsed is None or passage.text[-TAIL:] not in parsed.text[place.start : place.end]:
                    return None
                # The bodies of web pages lie in the index, wherever that is now.
                paths = tuple(self._folder / WEB / p["path"] if p.get("address") else path_of(p) for p in row["paths"])
                return Source(passage, parsed, place.start, place.end, row["sha256"], paths)
        return None


def _among_others(passage: Passage, corpus: Corpus) -> Source:
    """The passage among the other passages of its document, for a corpus file or where the text is not kept."""
    name = passage.document
    text, title = "", ""
    blocks: list[Block] = []
    start, end = 0, 0
    for other in corpus.of_document(name):
        heading = other.title if other.title != title else ""
        title = other.title
        parts: list[tuple[BlockKind, str]] = [("heading", heading), ("text", other.text)]
        for kind, part in parts:
            if part:
                text += "\n\n" if text else ""
                blocks.append(Block(kind, len(text), len(text) + len(part), 2))
                text += part
        if other.id == passage.id:
            start, end = blocks[-1].start, blocks[-1].end
    return Source(passage, Document("passages", passage.title or name, text, tuple(blocks)), start, end)


def _pages(source: Source) -> dict[int, str]:
    """The part of the passage on each page that it stands on, by the page's number."""
    parts: dict[int, str] = {}
    for block in source.document.blocks:
        start, end = max(block.start, source.start), min(block.end, source.end)
        if block.page is not None and start < end:
            parts[block.page] = f"{parts.get(block.page, '')} {source.document.text[start:end]}"
    return parts
