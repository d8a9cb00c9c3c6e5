"""Parsed documents, kept beside an index so that an unchanged file is parsed once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rag.documents.document import Block, Document
from rag.documents.scan import FoundFile
from rag.errors import UnreadableFile
from rag.files import write_whole

FOLDER = "documents"
PARSER_VERSION = 3


class ParsedDocuments:
    """The store of parsed documents below an index, by the hash of the file."""

    def __init__(self, index_folder: str | Path):
        self.folder = Path(index_folder) / FOLDER

    def read(self, sha256: str, ocr: str = "") -> Document | None:
        """The document, or None where it was not parsed yet, or by another version, or where pages of it were not
        recognised in the languages `ocr`, which now can be."""
        try:
            raw = json.loads(self._path(sha256).read_text(encoding="utf-8"))
            if raw["parser_version"] != PARSER_VERSION:
                return None
            blocks = tuple(Block(**block) for block in raw["blocks"])
            if ocr and raw["ocr"] not in (None, ocr):
                return None
            return Document(raw["kind"], raw["title"], raw["text"], blocks, tuple(raw["notes"]), raw["ocr"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, sha256: str, document: Document) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(sha256), json.dumps({"parser_version": PARSER_VERSION, **asdict(document)}))

    def keep_only(self, hashes: Iterable[str]) -> None:
        """Drop what no generation needs any more."""
        wanted = set(hashes)
        if self.folder.is_dir():
            for path in self.folder.glob("*.json"):
                if path.stem not in wanted:
                    path.unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.json"


def parse_all(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    parse: Callable[[Path, str], Document],
    advance: Callable[[int], None] = lambda n: None,
    ocr: str = "",
) -> dict[str, str]:
    """Parse what the store lacks; returns path -> reason for those that cannot be read.

    `ocr` names the languages in which scanned pages can be read now.

    The same bytes are parsed once; a failure is not kept, so that the next run tries again.
    """
    failed: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for found in files:
        if found.sha256 not in reasons and store.read(found.sha256, ocr) is None:
            try:
                store.write(found.sha256, parse(found.full_path, found.sha256))
            except UnreadableFile as error:
                reasons[found.sha256] = str(error)
        if found.sha256 in reasons:
            failed[str(found.full_path)] = reasons[found.sha256]
        advance(1)
    return failed
